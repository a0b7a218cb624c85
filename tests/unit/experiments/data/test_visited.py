"""Sensors that a node decodes once, for all its processes."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from experiments.data import DataError, datasets, images, visited
from experiments.data.dataset import FrameDataset, PlanningDataset
from experiments.data.visited import VisitedRows
from experiments.settings import DataConfig
from launcher.errors import ConfigError
from tests.unit.experiments.data.worlds import copy_logs, small_config

SHAPE = (3, 4, 5)


@pytest.fixture(autouse=True)
def _roomy_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the folders of tests lie."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=10**12, free=10**12))
    monkeypatch.setattr(visited, "_file_system", lambda _: "ext4")


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


def test_a_reserve_is_left_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kept = rows(tmp_path)
    kept.read(0, row)
    little = SimpleNamespace(total=10**12, free=10**10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: little)
    for frame in (1, 2):
        assert np.array_equal(kept.read(frame, row), row(frame))
    with pytest.raises(AssertionError):
        kept.read(1, never)
    assert np.array_equal(kept.read(0, never), row(0))
    assert [r.getMessage() for r in caplog.records] == [
        f"no more decoded sensors are kept in {tmp_path} (data.decoded_dir) by this process:"
        " 10.0 GB are free, of which 10.0 GB are left to others"
    ]


def test_the_rows_of_another_user_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows(tmp_path).read(1, row)
    really = os.open

    def only_to_read(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_RDWR:
            raise PermissionError(13, "Permission denied")
        return really(path, flags, mode)

    monkeypatch.setattr(os, "open", only_to_read)
    kept = rows(tmp_path)
    assert np.array_equal(kept.read(1, never), row(1))
    assert np.array_equal(kept.read(2, row), row(2))
    with pytest.raises(AssertionError):
        kept.read(2, never)


def test_files_are_closed_with_what_reads_them(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        rows(tmp_path).read(1, row)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


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


@pytest.mark.parametrize("name", ["$EMPTY_HERE", "${EMPTY_HERE}/x", "/x/$EMPTY_HERE"])
def test_an_empty_variable_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("EMPTY_HERE", "")
    splits = datasets(replace(config(tmp_path), decoded_dir=name))
    with pytest.raises(ConfigError, match="variable EMPTY_HERE is not set on this node"):
        PlanningDataset(splits.source, splits.train, ("image",))


@pytest.mark.parametrize("name", ["", "relative", "./x"])
def test_a_folder_that_moves_with_the_working_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with pytest.raises(ConfigError, match="is no absolute path"):
        DataConfig(decoded_dir=name)
    monkeypatch.setenv("PLACE_HERE", name or "x")
    splits = datasets(replace(config(tmp_path), decoded_dir="$PLACE_HERE"))
    with pytest.raises(ConfigError, match="on this node, which is no absolute path"):
        PlanningDataset(splits.source, splits.train, ("image",))


def test_a_folder_in_memory_is_refused_before_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visited, "_file_system", lambda _: "tmpfs")
    splits = datasets(config(tmp_path))
    with pytest.raises(ConfigError, match=r"lies in memory .* is tmpfs"):
        PlanningDataset(splits.source, splits.train, ("image",))
    assert not (tmp_path / "node").exists()


def test_file_systems_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    for place in ("/", "/proc/self", "/dev/shm"):
        command = ["findmnt", "--noheadings", "--output", "FSTYPE", "--target", place]
        expected = subprocess.run(command, text=True, capture_output=True, check=True).stdout
        assert visited._file_system(Path(place, "x/y")) == expected.split()[-1]


def half_of_the_logs(tmp_path: Path) -> str:
    """A filter that takes the second half of them, so that row 0 is another frame."""
    names = datasets(small_config(tmp_path / "data")).source.index.log_names
    path = tmp_path / "half.yaml"
    path.write_text(f"frame_interval: 1\nlog_names: {list(names[len(names) // 2 :])}\n")
    return str(path)


def test_rows_of_other_logs_are_kept_apart(tmp_path: Path) -> None:
    some = half_of_the_logs(tmp_path)
    for more in ({"decoded_dir": str(tmp_path / "node")}, {"cache_decoded": True}):
        for filtered in (None, some):
            config = replace(small_config(tmp_path / "data"), filter=filtered)
            plain, kept = datasets(config), datasets(replace(config, **more))
            is_cached = "cache_decoded" in more
            expected = PlanningDataset(plain.source, plain.train, ("image",))
            found = PlanningDataset(kept.source, kept.train, ("image",), cache_decoded=is_cached)
            assert len(expected) > 2
            for n in range(len(expected)):
                assert np.array_equal(found[n]["image"], expected[n]["image"])


def test_targets_of_other_logs_are_kept_apart(tmp_path: Path) -> None:
    some = half_of_the_logs(tmp_path)
    found = []
    for filtered, below in ((None, "both"), (some, "both"), (some, "alone")):
        config = replace(small_config(tmp_path / "data"), filter=filtered)
        splits = datasets(replace(config, cache_dir=str(tmp_path / below)))
        windows = PlanningDataset(splits.source, splits.train, (), targets=("bev_semantics",))
        found.append([windows[n]["bev_semantics"] for n in range(3)])
    assert all(map(np.array_equal, found[1], found[2]))
    assert not all(map(np.array_equal, found[0], found[2]))


def test_the_same_files_under_another_name_are_no_other_data(tmp_path: Path) -> None:
    recorded = copy_logs(small_config(tmp_path / "data"), tmp_path / "recorded", 99)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "recorded" / "sensor_blobs")
    for sensors in (link, tmp_path / "recorded" / "sensor_blobs"):
        named = replace(recorded, sensors=str(sensors), decoded_dir=str(tmp_path / "node"))
        splits = datasets(named)
        PlanningDataset(splits.source, splits.train, ("image",))[0]
    assert len(list((tmp_path / "node").iterdir())) == 1


def test_sensors_are_decoded_at_one_time() -> None:
    with pytest.raises(ConfigError, match="two answers"):
        DataConfig(decoded_dir="/x", cache_decoded=True)
    with pytest.raises(ConfigError, match="two answers"):
        DataConfig(decoded_dir="/x", decode="gpu")
    with pytest.raises(ConfigError, match="navsim_cache"):
        DataConfig(decoded_dir="/x", source="navsim_cache")
