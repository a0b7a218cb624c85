"""Reference plans are made once, are the same ever after, and never those of another scene."""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments.data.errors import DataError
from experiments.data.openscene import OpenSceneSource
from experiments.scoring.pdm import kept
from experiments.scoring.pdm.from_source import SourceScenes
from experiments.scoring.pdm.kept import KeptScenes
from experiments.settings import DataConfig
from launcher.stopping import RunStopped
from tests.unit.experiments.data.worlds import copy_logs, edit_log, first_log, open_copy

ROWS = np.array([1, 4])


@pytest.fixture
def recorded(small_world: DataConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
             ) -> DataConfig:  # fmt: skip
    caplog.set_level(logging.INFO)
    return copy_logs(small_world, tmp_path / "recorded")


def go_on() -> None:
    pass


def opened(config: DataConfig, source: OpenSceneSource | None = None, rows: np.ndarray = ROWS
           ) -> KeptScenes:  # fmt: skip
    return KeptScenes(source or open_copy(config), config, rows, go_on)


def times_made(caplog: pytest.LogCaptureFixture) -> int:
    return sum(record.message.startswith("made 2 ref") for record in caplog.records)


def files(config: DataConfig) -> list[Path]:
    return sorted(Path(config.root).glob("references-*.columns"))


def test_references_are_made_once_and_are_those_made_without_keeping(
    recorded: DataConfig, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_copy(recorded)
    first = opened(recorded, source)
    alone = SourceScenes(source, recorded)
    wanted = {row: alone.read(row, source.red_lights(row)) for row in ROWS.tolist()}
    monkeypatch.setattr("experiments.scoring.pdm.from_source.plan_reference", None)
    again = opened(recorded)
    for row, scene in wanted.items():
        for found in (first.read(row), again.read(row)):
            assert np.array_equal(found.reference, scene.reference)
            assert np.array_equal(found.tracks.boxes, scene.tracks.boxes)
            assert found.token == scene.token
    assert times_made(caplog) == 1
    assert len(files(recorded)) == 1


def test_a_window_beyond_those_asked_for_is_read_as_well(recorded: DataConfig) -> None:
    source = open_copy(recorded)
    found = opened(recorded, source).read(0)
    assert np.array_equal(found.reference, SourceScenes(source, recorded).read(0).reference)


def test_many_at_once_make_them_once(
    recorded: DataConfig, caplog: pytest.LogCaptureFixture
) -> None:
    source = open_copy(recorded)
    threads = [threading.Thread(target=opened, args=(recorded, open_copy(recorded)))
               for _ in range(3)]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert times_made(caplog) == 1
    assert opened(recorded, source).read(1).reference.shape == (41, 3)


def test_other_windows_and_other_planners_have_files_of_their_own(
    recorded: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_copy(recorded)
    keys = {kept.key_of(source, ROWS), kept.key_of(source, ROWS[:1]), kept.key_of(source, ROWS + 1)}
    monkeypatch.setattr(kept, "REFERENCE", "synthetic-idm-15 v2")
    keys.add(kept.key_of(source, ROWS))
    monkeypatch.setattr(kept, "scorer_sha", lambda: "0")
    keys.add(kept.key_of(source, ROWS))
    assert len(keys) == 5


def test_a_map_that_has_changed_gets_new_references(recorded: DataConfig) -> None:
    before = opened(recorded).read(1).reference
    path = sorted((Path(recorded.root) / "maps").glob("*.json"))[0]
    content = json.loads(path.read_text())
    line = np.array(content["centerline"])
    line[:, :2] += 1.5 * np.stack([-np.sin(line[:, 2]), np.cos(line[:, 2])], axis=1)
    content["centerline"] = line.tolist()
    path.write_text(json.dumps(content))
    source = open_copy(recorded)
    after = opened(recorded, source).read(1).reference
    assert not np.array_equal(before, after)
    assert np.array_equal(after, SourceScenes(source, recorded).read(1).reference)


def test_a_torn_file_is_made_again(recorded: DataConfig, caplog: pytest.LogCaptureFixture) -> None:
    wanted = opened(recorded).read(1).reference
    (path,) = files(recorded)
    path.write_bytes(path.read_bytes()[:-100])
    assert np.array_equal(opened(recorded).read(1).reference, wanted)
    assert "made again" in caplog.text
    assert times_made(caplog) == 2


def test_where_nothing_can_be_written_they_are_made_for_the_run_alone(
    recorded: DataConfig, caplog: pytest.LogCaptureFixture
) -> None:
    source = open_copy(recorded)
    nowhere = replace(recorded, root=str(first_log(recorded) / "below_a_file"))
    found = opened(nowhere, source).read(1).reference
    assert "for this run alone" in caplog.text
    assert np.array_equal(found, SourceScenes(source, recorded).read(1).reference)


def test_a_window_without_a_reference_is_refused_by_name_and_the_others_are_kept(
    recorded: DataConfig, caplog: pytest.LogCaptureFixture
) -> None:
    def flatten(frames: list[dict[str, object]]) -> None:
        for frame in frames[3:]:
            frame["anns"]["gt_boxes"][:, 3] = 0.0  # type: ignore[index]

    edit_log(first_log(recorded), flatten)
    source = open_copy(recorded)
    scenes = opened(recorded, source)
    assert "no reference plan" in caplog.text
    with pytest.raises(DataError, match=f"`{source.index.token[1].decode()}`.* is 0 m long"):
        scenes.read(1)
    assert scenes.read(4).reference.shape == (41, 3)


def test_a_stop_leaves_neither_a_file_nor_a_lock(recorded: DataConfig) -> None:
    source, asked = open_copy(recorded), iter([None, None, RunStopped()])

    def between() -> None:
        stop = next(asked)
        if stop is not None:
            raise stop

    with pytest.raises(RunStopped):
        KeptScenes(source, recorded, ROWS, between)
    assert not files(recorded)
    assert opened(recorded, source).read(1).reference.shape == (41, 3)
    assert len(files(recorded)) == 1
