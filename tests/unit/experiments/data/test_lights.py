"""Which lane connectors a red light closes, as logs tell it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from experiments.data import Splits
from experiments.data.errors import DataError
from experiments.data.lights import red_lights_of
from experiments.data.logs import read_log
from experiments.data.openscene import OpenSceneSource
from experiments.settings import DataConfig
from tests.unit.experiments.data.worlds import WINDOWS_PER_LOG, edit_log, first_log, open_copy


def lights(value: Any) -> frozenset[str]:
    return red_lights_of({"token": "t", "traffic_lights": value}, Path("log.pkl"))


def test_red_lights_are_those_of_the_windows_current_frame(splits: Splits) -> None:
    source = splits.source
    assert isinstance(source, OpenSceneSource)
    index = source.index
    for i in range(len(index)):
        path = source._log_path(int(index.log[i]))
        (frame,) = (f for f in read_log(path) if f["token"] == index.token[i].decode())
        wanted = {area for area, is_red in frame["traffic_lights"] if is_red}
        assert source.red_lights(i) == wanted
        assert wanted <= {polygon.id for polygon in source.map_of(i).polygons}


def test_a_light_that_changes_is_red_at_its_own_frames_only(recorded: DataConfig) -> None:
    def at_one_window(frames: list[dict[str, Any]]) -> None:
        for number, frame in enumerate(frames):
            frame["traffic_lights"] = [("here", number == 4), ("there", False)]

    edit_log(first_log(recorded), at_one_window)
    source = open_copy(recorded)
    assert [source.red_lights(i) for i in range(WINDOWS_PER_LOG)] == [set(), {"here"}, set()]


@pytest.mark.parametrize("nothing", [[], None, ()])
def test_logs_without_lights_close_nothing(nothing: Any) -> None:
    assert lights(nothing) == frozenset()
    assert red_lights_of({"token": "t"}, Path("log.pkl")) == frozenset()


def test_ids_are_text_as_in_maps() -> None:
    assert lights([(17, True), ("18", False)]) == {"17"}


@pytest.mark.parametrize("torn", [[("a", "red")], [("a",)], [(None, True)], 5, ["ab", ("c", None)]])
def test_lights_of_another_form_are_refused_by_frame_and_log(torn: Any) -> None:
    with pytest.raises(DataError, match=r"frame `t` in `log\.pkl`"):
        lights(torn)
