"""Resume checkpoints: whole ones are found, damaged and foreign ones are not loaded."""

from __future__ import annotations

import errno
import json
import logging
import os
from collections import OrderedDict, deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from launcher.callbacks import plain, resume_files
from launcher.callbacks.resume_files import ResumeFiles
from launcher.errors import LauncherError, StoreError
from tests.programs import REPOSITORY


@pytest.fixture
def files(tmp_path: Path) -> ResumeFiles:
    return ResumeFiles(folder=tmp_path / "fit-00", key="k1", attempt="001-000", keep=2)


def write(files: ResumeFiles, *steps: int) -> None:
    for step in steps:
        state = plain.encode({"weights": torch.full((50,), float(step))})
        files.write(state, step=step, world_size=1, accumulation=1, completed=False)


def test_the_newest_is_found_and_the_oldest_are_gone(files: ResumeFiles) -> None:
    write(files, 10, 20, 30)
    found = files.find()
    assert found is not None
    assert found.step == 30
    assert files.load(found)["weights"][0] == 30
    assert files.steps() == [30, 20]
    assert not [path for path in files.folder.iterdir() if path.name.startswith(".")]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def lose_the_manifest(path: Path) -> None:
    path.with_suffix(".json").unlink()


def tear_the_manifest(path: Path) -> None:
    path.with_suffix(".json").write_text('{"step": 3')


def lose_the_file(path: Path) -> None:
    path.unlink()


def come_from_the_future(path: Path) -> None:
    manifest = path.with_suffix(".json")
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "schema_version": 99}))


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        flip_a_bit,
        lose_the_manifest,
        tear_the_manifest,
        lose_the_file,
        come_from_the_future,
    ],
)
def test_the_one_before_serves_when_the_newest_is_damaged(
    damage: Any, files: ResumeFiles, caplog: pytest.LogCaptureFixture
) -> None:
    write(files, 10, 20)
    damage(files.path(20))
    with caplog.at_level(logging.WARNING):
        found = files.find()
    assert found is not None
    assert found.step == 10
    assert "step 20 is not used" in caplog.text
    assert "step 10 is used instead" in caplog.text


def test_damage_of_all_is_said_and_begins_anew(
    files: ResumeFiles, caplog: pytest.LogCaptureFixture
) -> None:
    write(files, 10, 20)
    truncate(files.path(10))
    truncate(files.path(20))
    assert files.find() is None
    assert "training begins anew" in caplog.text


def test_a_checkpoint_of_another_run_is_refused(files: ResumeFiles) -> None:
    write(files, 10)
    other = ResumeFiles(folder=files.folder, key="k2", attempt="001-000", keep=2)
    with pytest.raises(LauncherError, match="written by run k1, this is run k2"):
        other.find()


class Evil:
    """Would create a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_a_checkpoint_that_could_run_code_is_refused(files: ResumeFiles, tmp_path: Path) -> None:
    write(files, 10)
    torch.save({"weights": Evil(tmp_path / "owned")}, files.path(10))
    content = files.path(10).read_bytes()
    manifest = files.path(10).with_suffix(".json")
    facts = json.loads(manifest.read_text())
    digest = resume_files._digest(files.path(10))
    manifest.write_text(json.dumps({**facts, "bytes": len(content), "sha256": digest}))
    found = files.find()
    assert found is not None
    with pytest.raises(LauncherError, match="more than data"):
        files.load(found)
    assert not (tmp_path / "owned").exists()


def test_a_full_disk_leaves_what_was_there(
    files: ResumeFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(files, 10)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(resume_files.os, "fsync", full)
    with pytest.raises(StoreError, match="No space left"):
        write(files, 20)
    monkeypatch.undo()
    found = files.find()
    assert found is not None
    assert found.step == 10
    assert [path.name for path in sorted(files.folder.iterdir())] == [
        "step-000000010.ckpt",
        "step-000000010.json",
    ]


def test_a_disk_that_fills_up_within_a_write_is_named(
    files: ResumeFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/dev/full refuses each write, inside of torch's writer."""
    full = Path("/dev/full")
    monkeypatch.setattr(resume_files, "open", lambda *_: full.open("wb"), raising=False)
    with pytest.raises(StoreError, match="No space left"):
        write(files, 20)


def test_state_comes_back_as_it_was(files: ResumeFiles) -> None:
    state = {
        "tensor": torch.arange(6, dtype=torch.bfloat16).reshape(2, 3),
        "array": np.arange(6, dtype=np.float16).reshape(3, 2),
        "bools": np.array([True, False]),
        "scalar": np.float64(0.1),
        "path": Path("a/b"),
        "nested": [(1, None), {"x": {1, 2}}, OrderedDict(a=1), deque([1, 2])],
        3: "integer keys",
    }
    files.write(plain.encode(state), step=1, world_size=1, accumulation=1, completed=False)
    found = files.find()
    assert found is not None
    loaded = files.load(found)
    assert torch.equal(loaded.pop("tensor"), state.pop("tensor"))  # type: ignore[arg-type]
    for name in ("array", "bools"):
        expected = state.pop(name)
        assert loaded[name].dtype == expected.dtype  # type: ignore[union-attr]
        assert np.array_equal(loaded.pop(name), expected)  # type: ignore[arg-type]
    assert type(loaded["scalar"]) is np.float64
    assert loaded == state


def test_a_copy_is_not_changed_by_the_training_that_goes_on() -> None:
    weight = torch.zeros(3)
    copied = plain.encode({"w": weight})
    weight += 1
    assert copied["w"].sum() == 0


@pytest.mark.parametrize("thing", [lambda: None, object(), type("Own", (), {})()])
def test_what_is_not_data_is_refused_by_its_place(thing: Any) -> None:
    with pytest.raises(LauncherError, match=r"at `callbacks\.mine"):
        plain.encode({"callbacks": {"mine": [1, thing]}})


def test_what_the_first_version_wrote_stays_readable() -> None:
    folder = REPOSITORY / "tests" / "golden" / "v1" / "resume" / "fit-00"
    files = ResumeFiles(folder=folder, key="5f3a0c9d1e2b", attempt="002-000", keep=2)
    found = files.find()
    assert found is not None
    assert (found.step, found.world_size, found.accumulation) == (120, 1, 2)
    state = files.load(found)
    assert state["state_dict"]["weight"].tolist() == [0, 1, 2, 3]
    assert state["launcher"]["place"] == "between batches"


def test_the_rest_of_a_killed_write_is_cleared_away(files: ResumeFiles) -> None:
    write(files, 10)
    rest = files.folder / ".step-000000020.ckpt.7"
    rest.write_bytes(b"half")
    write(files, 20)
    assert not rest.exists()


def test_new_checkpoints_outlive_damaged_ones_of_later_steps(files: ResumeFiles) -> None:
    write(files, 190, 200)
    for step in (190, 200):
        flip_a_bit(files.path(step))
    assert files.find() is None
    write(files, 10)
    found = files.find()
    assert found is not None
    assert found.step == 10
    assert (files.folder / "step-000000200.ckpt.damaged").exists()


def test_what_was_just_written_is_never_pruned(files: ResumeFiles) -> None:
    write(files, 100, 200, 5)
    assert files.steps() == [200, 5]


@pytest.mark.parametrize("key", [np.int64(3), Path("a"), ("a", np.int64(1))])
def test_a_key_that_is_not_plain_is_refused(key: Any) -> None:
    with pytest.raises(LauncherError, match="has a key"):
        plain.encode({"state": {key: 1}})
