from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.data import DataError
from experiments.data.columns import TornError
from experiments.features import store as store_module
from experiments.features.store import STORED_AS, FeatureStore, StoreFolder

TOKENS = np.array([f"{number * 7 % 11:016x}" for number in range(11)], "S16")
"""In no order."""
SHAPE = (3, 4)


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_SHARD_ROWS", 4)


def facts(dtype: str = "float32", encoder: str = "a") -> dict[str, Any]:
    return {
        "encoder": {"digest": encoder},
        "tokens": {"dtype": dtype},
        "windows": {"count": len(TOKENS)},
    }


def numbers(dtype: str = "float32") -> np.ndarray:
    drawn = np.random.default_rng(0).integers(0, 9, (len(TOKENS), *SHAPE))
    return drawn.astype(STORED_AS[dtype])


def begun(home: Path, **changes: Any) -> StoreFolder:
    return StoreFolder.begin(home, facts(**changes), TOKENS, SHAPE)


def filled(home: Path, **changes: Any) -> StoreFolder:
    store = begun(home, **changes)
    rows = numbers(store.layout.dtype)
    for shard in range(store.layout.num_shards):
        store.write(shard, rows[list(store.layout.rows_of(shard))])
    return store


@pytest.mark.parametrize("dtype", sorted(STORED_AS))
def test_each_window_comes_back_under_its_token(tmp_path: Path, dtype: str) -> None:
    store = FeatureStore.open(filled(tmp_path, dtype=dtype).folder)
    rows = store.rows_of(TOKENS[::-1])
    assert rows.tolist() == list(range(11))[::-1]
    read = np.stack([store.read(int(row)) for row in rows])
    assert read.dtype == STORED_AS[dtype]
    assert np.array_equal(read, numbers(dtype)[::-1])


def test_the_last_shard_is_shorter(tmp_path: Path) -> None:
    layout = begun(tmp_path).layout
    assert [len(layout.rows_of(shard)) for shard in range(layout.num_shards)] == [4, 4, 3]


def test_a_shard_of_large_rows_holds_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_SHARD_BYTES", 100)
    assert begun(tmp_path).layout.rows_per_shard == 2


def test_a_read_row_is_the_readers_own(tmp_path: Path) -> None:
    store = FeatureStore.open(filled(tmp_path).folder)
    store.read(5)[:] = -1
    assert np.array_equal(store.read(5), numbers()[5])
    with pytest.raises(IndexError):
        store.read(11)


def test_windows_that_are_not_there_are_counted_and_named(tmp_path: Path) -> None:
    store = FeatureStore.open(filled(tmp_path).folder)
    asked = np.append(TOKENS[:2], np.array([b"ffffffffffffffff"]))
    with pytest.raises(DataError, match=r"1 of 3 windows \(`ffffffffffffffff`\) have no features"):
        store.rows_of(asked)


def test_a_store_with_a_shard_missing_is_refused(tmp_path: Path) -> None:
    store = filled(tmp_path)
    store.path_of(1).unlink()
    with pytest.raises(DataError, match=r"lacks 1 of 3 shards \(shard-00001\.columns\)"):
        FeatureStore.open(store.folder)


def test_a_torn_shard_is_missing(tmp_path: Path) -> None:
    store = filled(tmp_path)
    path = store.path_of(2)
    path.write_bytes(path.read_bytes()[:-10])
    assert store.missing(range(3), verify=False) == [2]
    with pytest.raises(DataError, match="shard-00002"):
        FeatureStore.open(store.folder)


def test_a_flipped_bit_is_found_by_who_reads_all(tmp_path: Path) -> None:
    store = filled(tmp_path)
    columns = store.open_shard(0)
    content = bytearray(columns.path.read_bytes())
    content[columns.columns["tokens"].offset + 9] ^= 1
    columns.path.write_bytes(content)
    assert store.missing(range(3), verify=False) == []
    assert store.missing(range(3), verify=True) == [0]


def test_a_shard_of_another_store_does_not_count(tmp_path: Path) -> None:
    other, store = filled(tmp_path / "b", encoder="b"), filled(tmp_path / "a")
    store.path_of(0).write_bytes(other.path_of(0).read_bytes())
    assert store.missing(range(3), verify=False) == [0]


def test_stores_of_other_encoders_have_other_folders(tmp_path: Path) -> None:
    assert begun(tmp_path).folder != begun(tmp_path, encoder="b").folder
    assert begun(tmp_path).folder == begun(tmp_path).folder


def test_a_description_that_was_changed_is_refused(tmp_path: Path) -> None:
    store = filled(tmp_path)
    path = store.folder / store.description()
    said = json.loads(path.read_text())
    said["facts"]["encoder"]["digest"] = "b"
    path.write_text(json.dumps(said))
    with pytest.raises(DataError, match="was changed"):
        FeatureStore.open(store.folder)
    path.write_text("{")
    with pytest.raises(DataError, match="is no description"):
        FeatureStore.open(store.folder)


def test_no_folder_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no feature store in"):
        FeatureStore.open(tmp_path / "gone")


def test_a_torn_list_of_windows_is_refused(tmp_path: Path) -> None:
    store = filled(tmp_path)
    (store.folder / "windows.columns").write_bytes(b"COLUMNS1")
    with pytest.raises(TornError, match=r"windows\.columns"):
        FeatureStore.open(store.folder)


def test_a_token_that_comes_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="twice"):
        StoreFolder.begin(tmp_path, facts(), np.append(TOKENS, TOKENS[:1]), SHAPE)


def test_a_process_that_is_not_forked_opens_the_files_itself(tmp_path: Path) -> None:
    store = FeatureStore.open(filled(tmp_path).folder)
    sent = pickle.dumps(store)
    assert len(sent) < 1000
    assert np.array_equal(pickle.loads(sent).read(3), numbers()[3])
