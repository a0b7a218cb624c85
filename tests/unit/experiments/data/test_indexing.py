from __future__ import annotations

import os
import pickle
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pytest

from experiments.data import DataError, indexing, keeping
from experiments.data.columns import MAGIC
from experiments.data.indexing import open_index, write_index
from experiments.data.logs import FrameTable, frame_table, read_log
from experiments.settings import DataConfig
from launcher.errors import ConfigError
from tests.unit.experiments.data.worlds import edit_log, first_log, open_copy

UNWRITABLE = Path("/sys")
"""Nobody creates files here, not even root."""


@pytest.fixture
def away(recorded: DataConfig) -> DataConfig:
    """Two logs whose `data.root` cannot be written."""
    root = Path(recorded.root)
    folders = {"logs": str(root / "navsim_logs"), "sensors": str(root / "sensor_blobs")}
    return replace(recorded, root=str(UNWRITABLE), **folders)


def cache_file(config: DataConfig) -> Path:
    (path,) = Path(config.root).glob("index-*")
    return path


def refuse_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(path: Path) -> Any:
        raise AssertionError(f"{path} is read again")

    monkeypatch.setattr(keeping, "read_log", read)


def count_builds(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    built: list[Path] = []

    def write(path: Path, *rest: Any) -> None:
        built.append(path)
        write_index(path, *rest)

    monkeypatch.setattr(keeping, "write_index", write)
    return built


def table_of(config: DataConfig) -> FrameTable:
    path = first_log(config)
    return frame_table(path, read_log(path))


def test_the_second_source_reads_no_log(
    recorded: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_copy(recorded)
    refuse_to_read(monkeypatch)
    second = open_copy(recorded)
    for name in ("status", "future", "pose", "frame_log"):
        np.testing.assert_array_equal(getattr(second, name), getattr(first, name))
    assert second.index.token.tolist() == first.index.token.tolist()
    assert second.index.log_names == first.index.log_names


def test_what_is_mapped_cannot_be_written(recorded: DataConfig) -> None:
    source = open_copy(recorded)
    arrays = [getattr(source.index, name) for name in ("token", "log", "frame", "command", "city")]
    arrays += [source.status, source.future, source.pose, source.frame_log]
    assert not any(array.flags.writeable for array in arrays)


def test_a_changed_log_is_indexed_anew(recorded: DataConfig) -> None:
    before = open_copy(recorded)
    edit_log(first_log(recorded), lambda frames: frames[3].update(token="0123456789abcdef"))
    after = open_copy(recorded)
    assert after.index.token[0] == b"0123456789abcdef"
    assert after.index.token[1:].tolist() == before.index.token[1:].tolist()


def test_a_log_written_anew_is_indexed_anew_even_at_the_same_size(recorded: DataConfig) -> None:
    open_copy(recorded)
    os.utime(first_log(recorded), ns=(1, 1))
    open_copy(recorded)
    assert len(list(Path(recorded.root).glob("index-*"))) == 2


@pytest.mark.parametrize("key", ["num_history_frames", "num_future_frames", "frame_interval"])
def test_windows_that_cannot_be_are_refused(key: str) -> None:
    with pytest.raises(ConfigError, match=rf"data\.{key}=0"):
        DataConfig(**{key: 0})  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [{"frame_interval": 2}, {"num_future_frames": 9}])
def test_other_windows_have_an_index_of_their_own(
    recorded: DataConfig, change: dict[str, int]
) -> None:
    first, other = open_copy(recorded), open_copy(replace(recorded, **change))  # type: ignore[arg-type]
    assert len(first.index) != len(other.index)
    assert len(list(Path(recorded.root).glob("index-*"))) == 2


def test_another_version_of_the_code_has_an_index_of_its_own(
    recorded: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_copy(recorded)
    built = count_builds(monkeypatch)
    monkeypatch.setattr(indexing, "_CODE", (*indexing._CODE, "pcd.py"))
    open_copy(recorded)
    assert len(built) == 1


def cut(content: bytes) -> bytes:
    return content[:-100]


def lose_the_end_of_the_header(content: bytes) -> bytes:
    return content[:50]


def spoil_the_header(content: bytes) -> bytes:
    return content.replace(b'"columns"', b'"colums_"')


def claim_an_endless_header(content: bytes) -> bytes:
    return MAGIC + b"\xff" * 8 + content[16:]


def empty(content: bytes) -> bytes:
    return b""


def be_something_else(content: bytes) -> bytes:
    return b"\x80\x04" + content


def belong_to_others(content: bytes) -> bytes:
    """As if the index of another data set had got this name."""
    start = content.index(b'"key": "') + len(b'"key": "')
    return content[:start] + content[start : start + 64][::-1] + content[start + 64 :]


DAMAGES = [
    cut, lose_the_end_of_the_header, spoil_the_header, claim_an_endless_header, empty,
    be_something_else, belong_to_others,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_torn_or_foreign_index_is_built_again_and_that_is_said(
    recorded: DataConfig, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    whole = open_copy(recorded)
    path = cache_file(recorded)
    content = path.read_bytes()
    path.unlink()  # what is mapped must not change below its reader
    path.write_bytes(damage(content))
    again = open_copy(recorded)
    assert path.read_bytes() == content
    np.testing.assert_array_equal(again.future, whole.future)
    assert any(path.name in record.getMessage() for record in caplog.records)


def test_where_the_data_cannot_be_written_the_index_goes_to_the_cache(
    away: DataConfig, recorded: DataConfig, tmp_path: Path
) -> None:
    source = open_copy(replace(away, cache_dir=str(tmp_path / "new" / "cache")))
    np.testing.assert_array_equal(source.future, open_copy(recorded).future)
    assert list((tmp_path / "new" / "cache").glob("index-*"))


def test_the_cache_is_not_used_where_the_data_can_be_written(
    recorded: DataConfig, tmp_path: Path
) -> None:
    open_copy(replace(recorded, cache_dir=str(tmp_path / "cache")))
    assert cache_file(recorded).exists()
    assert not (tmp_path / "cache").exists()


def test_an_index_that_is_there_needs_no_folder_to_write(
    recorded: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_copy(recorded)
    monkeypatch.setattr(keeping, "writable", lambda homes, what: pytest.fail("it asks to write"))
    open_copy(recorded)


def test_without_any_folder_to_write_it_says_what_to_set(away: DataConfig) -> None:
    with pytest.raises(ConfigError, match="written nowhere") as caught:
        open_copy(replace(away, cache_dir=str(UNWRITABLE / "cache")))
    assert "data.cache_dir" in str(caught.value)
    assert str(UNWRITABLE / "cache") in str(caught.value)


def test_many_at_once_build_one_index(
    recorded: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = count_builds(monkeypatch)
    with ThreadPoolExecutor(8) as pool:
        sources = list(pool.map(lambda _: open_copy(recorded), range(8)))
    assert len(built) == 1
    assert len({source.future.tobytes() for source in sources}) == 1


def test_where_there_are_no_locks_the_rename_decides(
    recorded: DataConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(lock: filelock.FileLock, *_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    with ThreadPoolExecutor(4) as pool:
        sources = list(pool.map(lambda _: open_copy(recorded), range(4)))
    assert len({source.future.tobytes() for source in sources}) == 1
    assert [p for p in Path(recorded.root).glob(".*") if ".lock" not in p.name] == []
    assert "without the lock" in caplog.text


def test_a_log_that_cannot_be_read_leaves_no_index_behind(recorded: DataConfig) -> None:
    path = sorted((Path(recorded.root) / "navsim_logs").iterdir())[1]
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match=path.name):
        open_copy(recorded)
    left = [p.name for p in Path(recorded.root).iterdir() if "index" in p.name]
    assert [name for name in left if not name.endswith(".lock")] == []


def test_a_full_disk_is_one_message(recorded: DataConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keeping, "write_index", write)
    with pytest.raises(DataError, match="No space left on device") as caught:
        open_copy(recorded)
    assert "data.cache_dir" in str(caught.value)


def test_a_process_that_is_not_forked_maps_the_index_too(recorded: DataConfig) -> None:
    source = open_copy(recorded)
    sent = pickle.dumps(source)
    # Arrays of these windows alone are larger.
    assert len(sent) < 2500
    received = pickle.loads(sent)
    np.testing.assert_array_equal(received.future, source.future)
    assert not received.status.flags.writeable


def test_paths_of_any_kind_come_back(recorded: DataConfig, tmp_path: Path) -> None:
    table = table_of(recorded)
    lidar = ["", "näher/☂.pcd", "b" * 300, *(["x"] * (len(table) - 3))]
    table = replace(table, lidar=np.array(lidar))
    write_index(tmp_path / "index", "key", recorded, [(Path("one.pkl"), table)])
    index = open_index(tmp_path / "index", "key")
    assert [index.lidar[n] for n in range(len(index.lidar))] == lidar
    assert [index.cameras[n] for n in range(3)] == table.cameras[0].tolist()


def test_cities_and_tokens_of_all_logs_fit_into_their_columns(
    recorded: DataConfig, tmp_path: Path
) -> None:
    table = table_of(recorded)
    count = len(table)
    logs = [("z", "S3"), ("a", "S16"), ("z", "S7")]
    tables = [
        (
            Path(f"{n}.pkl"),
            replace(table, city=np.array([city] * count), token=np.arange(count).astype(kind)),
        )
        for n, (city, kind) in enumerate(logs)
    ]
    write_index(tmp_path / "index", "key", recorded, tables)
    windows = open_index(tmp_path / "index", "key").windows
    assert windows.cities == ("a", "z")
    assert [windows.cities[windows.city[windows.log == n][0]] for n in range(3)] == ["z", "a", "z"]
    assert windows.token[windows.log == 1].tolist() == windows.token[windows.log == 0].tolist()


def test_building_holds_one_log_at_a_time(recorded: DataConfig, tmp_path: Path) -> None:
    table = table_of(recorded)
    one_log = sum(getattr(table, field.name).nbytes for field in fields(FrameTable))
    copies = 400

    def tables() -> Iterator[tuple[Path, FrameTable]]:
        for n in range(copies):
            columns = {f.name: getattr(table, f.name).copy() for f in fields(FrameTable)}
            yield Path(f"{n}.pkl"), FrameTable(**columns)

    tracemalloc.start()
    write_index(tmp_path / "index", "key", recorded, tables())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Tokens stay until the end, and files have buffers; all logs would be far more.
    assert peak < copies * one_log / 4
