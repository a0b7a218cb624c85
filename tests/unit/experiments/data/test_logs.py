from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.data import DataError
from experiments.data.logs import frame_table, read_log
from experiments.settings import DataConfig
from tests.unit.experiments.data.worlds import edit_log, first_log, open_copy


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('code of a log was run')",)


def test_a_log_cannot_run_code(tmp_path: Path) -> None:
    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps([{"token": Evil()}]))
    with pytest.raises(DataError, match=r"evil\.pkl.*builtins\.exec"):
        read_log(path)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_arrays_of_all_pickle_protocols_are_read(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "log.pkl"
    path.write_bytes(pickle.dumps([{"a": np.arange(3), "b": np.float64(2.0)}], protocol=protocol))
    frames = read_log(path)
    assert frames[0]["a"].tolist() == [0, 1, 2]
    assert frames[0]["b"] == 2.0


def test_arrays_pickled_by_older_numpy_are_read(tmp_path: Path) -> None:
    path = tmp_path / "log.pkl"
    content = pickle.dumps([{"a": np.arange(3)}], protocol=0)
    path.write_bytes(content.replace(b"numpy._core", b"numpy.core"))
    assert read_log(path)[0]["a"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("content", [b"", b"\x80\x04", pickle.dumps([]), pickle.dumps({"a": 1})])
def test_torn_and_foreign_pickles_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.pkl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"odd\.pkl"):
        read_log(path)


def test_a_missing_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.pkl"):
        read_log(tmp_path / "gone.pkl")


@pytest.mark.parametrize("key", ["ego2global_translation", "ego_dynamic_state"])
def test_a_label_that_is_not_a_number_names_its_token(recorded: DataConfig, key: str) -> None:
    path = first_log(recorded)

    def spoil(frames: list[dict[str, Any]]) -> None:
        frames[5][key] = np.asarray(frames[5][key]) * np.nan

    edit_log(path, spoil)
    token = read_log(path)[5]["token"]
    with pytest.raises(DataError, match=token) as caught:
        open_copy(recorded)
    assert path.name in str(caught.value)


def test_a_command_that_is_not_one_hot_names_its_token(recorded: DataConfig) -> None:
    path = first_log(recorded)
    edit_log(path, lambda frames: frames[2].update(driving_command=np.array([1, 1, 0, 0])))
    with pytest.raises(DataError, match=read_log(path)[2]["token"]):
        open_copy(recorded)


def test_a_missing_key_is_named(recorded: DataConfig) -> None:
    path = first_log(recorded)
    edit_log(path, lambda frames: frames[1].pop("ego_dynamic_state"))
    with pytest.raises(DataError, match="ego_dynamic_state"):
        frame_table(path, read_log(path))


def test_a_log_of_another_version_of_the_format_is_refused_with_what_it_lacks(
    recorded: DataConfig,
) -> None:
    """OpenScene's raw metadata has neither commands nor routes; NAVSIM has added them."""
    path = first_log(recorded)

    def age(frames: list[dict[str, Any]]) -> None:
        for frame in frames:
            del frame["driving_command"], frame["roadblock_ids"]

    edit_log(path, age)
    with pytest.raises(DataError, match="another version of the format") as caught:
        open_copy(recorded)
    assert "frame 0 has no `roadblock_ids`, `driving_command`" in str(caught.value)
    assert path.name in str(caught.value)


WRONG_KINDS = [
    ({"token": 81985529216486895}, "token of frame 2 .* is not text"),
    ({"timestamp": 1.5}, r"no whole number of microseconds: 1\.5"),
    ({"ego_dynamic_state": ["fast", 0, 0, 0]}, "does not have OpenScene's form"),
    ({"ego_dynamic_state": [1.0, 0.0]}, "does not have OpenScene's form"),
    ({"ego2global_rotation": [1.0, 0.0, 0.0]}, "does not have OpenScene's form"),
    ({"driving_command": "left"}, "does not have OpenScene's form"),
    ({"roadblock_ids": None}, "does not have OpenScene's form"),
]


@pytest.mark.parametrize(("values", "message"), WRONG_KINDS)
def test_a_value_of_another_type_is_refused(
    recorded: DataConfig, values: dict[str, Any], message: str
) -> None:
    path = first_log(recorded)
    edit_log(path, lambda frames: frames[2].update(values))
    with pytest.raises(DataError, match=message) as caught:
        open_copy(recorded)
    assert path.name in str(caught.value)


def test_states_of_another_length_in_all_frames_are_refused(recorded: DataConfig) -> None:
    """Those of an even number of frames could be taken for half as many of the right length."""
    path = first_log(recorded)
    edit_log(path, lambda frames: [f.update(ego_dynamic_state=[1.0, 0.0]) for f in frames])
    with pytest.raises(DataError, match="does not have OpenScene's form"):
        open_copy(recorded)


def test_a_frame_that_is_no_table_is_refused(recorded: DataConfig) -> None:
    path = first_log(recorded)
    edit_log(path, lambda frames: frames.__setitem__(1, ["a", "list"]))  # type: ignore[call-overload]
    with pytest.raises(DataError, match=r"frame 1 of the log .* is a list"):
        open_copy(recorded)


def test_a_hole_in_the_recording_is_refused(recorded: DataConfig) -> None:
    path = first_log(recorded)
    edit_log(path, lambda frames: frames.pop(7))
    with pytest.raises(DataError, match=r"not 0\.5 s after"):
        open_copy(recorded)
