"""Sensors that a node decodes once, for all its processes."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from experiments.data import DataError, datasets, images
from experiments.data.dataset import FrameDataset, PlanningDataset
from experiments.data.visited import VisitedRows
from experiments.settings import DataConfig
from launcher.errors import ConfigError
from tests.unit.experiments.data.worlds import small_config

SHAPE = (3, 4, 5)


def rows(folder: Path) -> VisitedRows:
    return VisitedRows(folder / "image", SHAPE, np.uint8)


def row(frame: int) -> NDArray[np.uint8]:
    return np.random.default_rng(frame).integers(0, 256, SHAPE, dtype=np.uint8)


def never(_: int) -> NDArray[np.uint8]:
    raise AssertionError("it was decoded before")


def test_a_row_is_decoded_at_its_first_visit_only(tmp_path: Path) -> None:
    first = rows(tmp_path)
    for frame in (7, 0, 3):
        assert np.array_equal(first.read(frame, row), row(frame))
    for again in (first, rows(tmp_path)):
        for frame in (0, 3, 7):
            assert np.array_equal(again.read(frame, never), row(frame))
    with pytest.raises(AssertionError):
        first.read(1, never)
    with pytest.raises(AssertionError):
        first.read(8, never)


def test_a_row_of_zeros_is_there(tmp_path: Path) -> None:
    rows(tmp_path).read(2, lambda _: np.zeros(SHAPE, np.uint8))
    assert not rows(tmp_path).read(2, never).any()


def test_a_row_of_another_shape_would_overwrite_the_next(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no row of"):
        rows(tmp_path).read(0, lambda _: np.zeros((3, 4, 6), np.uint8))


def torn(folder: Path) -> None:
    with (folder / "image.rows").open("r+b") as file:
        file.seek(60 + 17)
        file.write(b"\0\0\0")


def short(folder: Path) -> None:
    os.truncate(folder / "image.rows", 60 + 30)


def unmarked(folder: Path) -> None:
    with (folder / "image.sums").open("r+b") as file:
        file.seek(8)
        file.write(b"\1" * 8)


@pytest.mark.parametrize("damage", [torn, short, unmarked])
def test_what_is_damaged_is_decoded_again(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    kept = rows(tmp_path)
    kept.read(1, row)
    damage(tmp_path)
    with pytest.raises(AssertionError):
        kept.read(1, never)
    assert np.array_equal(kept.read(1, row), row(1))
    assert np.array_equal(kept.read(1, never), row(1))


def test_a_full_disk_ends_the_keeping_and_not_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kept = rows(tmp_path)
    kept.read(0, row)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with caplog.at_level(logging.WARNING):
        for frame in (1, 2):
            assert np.array_equal(kept.read(frame, row), row(frame))
    assert [r.getMessage() for r in caplog.records if "No space left" in r.getMessage()] != []
    assert len(caplog.records) == 1
    assert np.array_equal(kept.read(0, never), row(0))


def visit(kept: VisitedRows, told: multiprocessing.Queue[int]) -> None:
    decoded = 0
    for frame in range(50):

        def decode(frame: int) -> NDArray[np.uint8]:
            nonlocal decoded
            decoded += 1
            return row(frame)

        assert np.array_equal(kept.read(frame, decode), row(frame))
    told.put(decoded)


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_processes_share_what_they_decode(tmp_path: Path, start: str) -> None:
    context = multiprocessing.get_context(start)
    kept, told = rows(tmp_path), context.Queue()
    others = [context.Process(target=visit, args=(kept, told)) for _ in range(3)]
    for other in others:
        other.start()
    found = [told.get(timeout=60) for _ in others]
    for other in others:
        other.join(60)
        assert other.exitcode == 0
    assert 50 <= sum(found) <= 150
    for frame in range(50):
        assert np.array_equal(kept.read(frame, never), row(frame))


def test_it_travels_by_its_name(tmp_path: Path) -> None:
    rows(tmp_path).read(4, row)
    again = pickle.loads(pickle.dumps(rows(tmp_path)))
    assert np.array_equal(again.read(4, never), row(4))


def config(tmp_path: Path, **more: object) -> DataConfig:
    return replace(small_config(tmp_path / "data"), decoded_dir=str(tmp_path / "node"), **more)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    calls: list[object] = []
    read = images.read_panorama

    def counting(*arguments: object, **how: object) -> NDArray[np.uint8]:
        calls.append(arguments)
        return read(*arguments, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(images, "read_panorama", counting)
    return calls


def test_windows_are_read_from_files_once_a_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = counted(monkeypatch)
    plain = datasets(small_config(tmp_path / "data"))
    expected = PlanningDataset(plain.source, plain.train, ("image", "lidar"))
    wanted = [expected[n] for n in range(4)]
    assert len(calls) == 4
    for _ in range(2):
        splits = datasets(config(tmp_path))
        windows = PlanningDataset(splits.source, splits.train, ("image", "lidar"))
        for n in range(4):
            for name in ("image", "lidar"):
                assert np.array_equal(windows[n][name], wanted[n][name])
    assert len(calls) == 8


def test_workers_keep_for_those_that_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = datasets(config(tmp_path))
    frames = FrameDataset(splits.source, splits.train_frames[:6])
    first = list(DataLoader(frames, batch_size=2, num_workers=2))
    calls = counted(monkeypatch)
    second = list(DataLoader(frames, batch_size=2))
    assert not calls
    assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("more", [{"decode": "scaled"}, {"image_hw": (16, 64)}, {"bev_px": 32}])
def test_what_is_decoded_otherwise_is_kept_apart(tmp_path: Path, more: dict[str, object]) -> None:
    for kept in (config(tmp_path), config(tmp_path, **more)):
        splits = datasets(kept)
        PlanningDataset(splits.source, splits.train, ("image", "lidar"))[0]
    assert len(list((tmp_path / "node").iterdir())) == 2


def test_a_missing_file_stays_an_error(tmp_path: Path) -> None:
    splits = datasets(config(tmp_path))
    windows = PlanningDataset(splits.source, splits.train, ("image",))
    frame = int(splits.source.index.frame[splits.train[0]])
    splits.source.sensor_paths(frame, "image")[0].unlink()
    with pytest.raises(DataError, match="is missing"):
        windows[0]


def test_nothing_is_made_where_runs_are_only_planned(tmp_path: Path) -> None:
    datasets(config(tmp_path))
    datasets(replace(config(tmp_path), decoded_dir="$UNSET_HERE/x"))
    assert not (tmp_path / "node").exists()


def test_a_folder_that_cannot_be_used_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    splits = datasets(replace(config(tmp_path), decoded_dir=str(tmp_path / "file")))
    with pytest.raises(ConfigError, match=r"data.decoded_dir=.*file`: Not a directory"):
        PlanningDataset(splits.source, splits.train, ("image",))
    splits = datasets(replace(config(tmp_path), decoded_dir="$UNSET_HERE/x"))
    with pytest.raises(ConfigError, match="is not set on this node"):
        PlanningDataset(splits.source, splits.train, ("image",))
    PlanningDataset(splits.source, splits.train, ())
    monkeypatch.setenv("UNSET_HERE", str(tmp_path / "set"))
    PlanningDataset(splits.source, splits.train, ("image",))[0]
    assert (tmp_path / "set" / "x").is_dir()


def test_sensors_are_decoded_at_one_time() -> None:
    with pytest.raises(ConfigError, match="two answers"):
        DataConfig(decoded_dir="/x", cache_decoded=True)
    with pytest.raises(ConfigError, match="two answers"):
        DataConfig(decoded_dir="/x", decode="gpu")
    with pytest.raises(ConfigError, match="navsim_cache"):
        DataConfig(decoded_dir="/x", source="navsim_cache")
