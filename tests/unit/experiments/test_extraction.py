"""task=extract makes each shard once, whole, whoever is interrupted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments.data import DataError
from experiments.features import encoding
from experiments.features import store as store_module
from experiments.features.store import FeatureStore
from experiments.settings import DataConfig
from launcher import stopping
from launcher.callbacks import underway
from launcher.errors import ConfigError, StoreError
from tests.unit.experiments.features.conftest import *  # noqa: F403 its fixtures
from tests.unit.experiments.features.stored_runs import Runs, save_encoder


@pytest.fixture
def runs(
    feature_world: DataConfig, encoder_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Runs:
    monkeypatch.setattr(store_module, "_SHARD_ROWS", 4)
    return Runs.of(feature_world, encoder_file, tmp_path)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the shards that were written, in the order in which they were."""
    shards: list[int] = []
    write = store_module.StoreFolder.write

    def noting(store: Any, shard: int, tokens: Any) -> None:
        write(store, shard, tokens)
        shards.append(shard)

    monkeypatch.setattr(store_module.StoreFolder, "write", noting)
    return shards


def contents(store: FeatureStore) -> np.ndarray:
    return np.stack([store.read(row) for row in range(store.store.layout.num_rows)])


def test_all_windows_of_all_splits_are_stored_whatever_the_fraction(runs: Runs) -> None:
    told = runs.extract(data={"fraction": 0.3})
    assert told["windows"] == 18
    store = runs.open("extraction")
    splits = runs.splits()
    everything = np.concatenate([splits.train, splits.val, splits.test])
    assert sorted(store.rows_of(splits.source.index.token[everything])) == list(range(18))


def test_what_is_there_is_kept(runs: Runs, written: list[int]) -> None:
    runs.extract()
    assert sorted(written) == [0, 1, 2, 3, 4]
    told = runs.extract()
    assert len(written) == 5
    assert told["windows_of_rank_0"] == 0


def test_batches_that_straddle_shards_change_nothing(runs: Runs) -> None:
    whole = contents(open_after(runs, "a", batch_size=64))
    for name, size in (("b", 3), ("c", 4)):
        for path in Path(runs.data.root).glob("features-*/shard-*"):
            path.unlink()
        assert np.allclose(contents(open_after(runs, name, batch_size=size)), whole, atol=1e-6)


def open_after(runs: Runs, name: str, **features: Any) -> FeatureStore:
    runs.extract(name, **features)
    return runs.open(name, **{key: features[key] for key in features if key != "batch_size"})


def test_after_a_stop_only_missing_shards_are_made(
    runs: Runs, written: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([None, None, None, "TERM"])
    monkeypatch.setattr(stopping, "requested", lambda: next(answers))
    with pytest.raises(stopping.RunStopped):
        runs.extract(batch_size=4)
    before = sorted(written)
    assert before
    assert len(before) < 5
    monkeypatch.setattr(stopping, "requested", lambda: None)
    with pytest.raises(DataError, match=r"no feature store|lacks"):
        runs.open()
    runs.extract(batch_size=4)
    assert sorted(written) == [0, 1, 2, 3, 4]
    assert len(written) == 5


def test_a_shard_with_a_flipped_bit_is_made_anew(runs: Runs, written: list[int]) -> None:
    runs.extract()
    store = runs.open("extraction").store
    columns = store.open_shard(3)
    content = bytearray(columns.path.read_bytes())
    content[columns.columns["tokens"].offset] ^= 1
    columns.path.write_bytes(content)
    expected = len(written)
    runs.extract()
    assert written[expected:] == [3]


def test_jobs_and_ranks_share_the_work_and_fill_one_store(runs: Runs, written: list[int]) -> None:
    whole = contents(open_after(runs, "whole"))
    for path in Path(runs.data.root).glob("features-*/shard-*"):
        path.unlink()
    written.clear()
    for part in ("0/2", "1/2"):
        for rank in (0, 1):
            before = len(written)
            runs.extract(f"part {part[0]}", world_size=2, rank=rank, part=part)
            assert len(written) - before in (1, 2)
    assert sorted(written) == [0, 1, 2, 3, 4]
    store = runs.open("part 0", "part 1")
    assert np.allclose(contents(store), whole, atol=1e-6)


def test_a_store_of_another_encoder_is_refused_and_both_are_named(
    runs: Runs, tmp_path: Path
) -> None:
    runs.extract()
    other = save_encoder(tmp_path / "other.pth.tar", seed=1)
    with pytest.raises(DataError) as refused:
        runs.open("extraction", weights=other)
    theirs = runs.open("extraction").store.facts["encoder"]["weights_sha256"]
    assert f"encoder.weights_sha256 is '{theirs}' there and '" in refused.value.message


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"data": {"decode": "scaled"}}, "image.decode is 'full' there and 'scaled' here"),
        ({"data": {"cameras": ["CAM_F0"]}}, "image.cameras"),
        ({"dtype": "float16"}, "tokens.dtype is 'float32' there and 'float16' here"),
        ({"pool_hw": (1, 1)}, r"tokens.pool_hw is None there and \[1, 1\] here"),
        ({"compute_dtype": "bfloat16"}, "tokens.compute_dtype"),
    ],
)
def test_a_store_of_something_else_is_refused(
    runs: Runs, change: dict[str, Any], named: str
) -> None:
    runs.extract()
    with pytest.raises(DataError, match=named):
        runs.open("extraction", **change)


def test_without_an_extraction_the_store_that_fits_is_found(runs: Runs) -> None:
    runs.extract("a")
    runs.extract("b", dtype="float16")
    assert runs.open(dtype="float16").store.layout.dtype == "float16"
    assert runs.open().store.layout.dtype == "float32"


def test_no_store_at_all_says_how_to_make_one(runs: Runs) -> None:
    with pytest.raises(DataError, match="there is no feature store in") as refused:
        runs.open()
    assert "task=extract" in str(refused.value.hint)


def test_a_store_that_was_removed_after_its_extraction_says_how_to_get_it_back(runs: Runs) -> None:
    runs.extract()
    folder = runs.open("extraction").store.folder
    folder.rename(folder.with_name("gone"))
    with pytest.raises(DataError, match="has been made, but is not in") as refused:
        runs.open("extraction")
    assert "runs/extraction" in str(refused.value.hint)


def test_an_encoder_that_learns_has_nothing_to_store(runs: Runs) -> None:
    with pytest.raises(ConfigError, match=r"`task=extract` cannot be: `finetune\.policy=full`"):
        runs.extract(policy="full", mode="online")


def test_features_that_are_not_finite_are_refused(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = underway.fetched

    def overflowing(values: list[torch.Tensor]) -> Any:
        _, is_finite = values
        is_finite[1] = False
        return fetched(values)

    monkeypatch.setattr(encoding, "fetched", overflowing)
    with pytest.raises(DataError, match="features of window 1 are not finite"):
        runs.extract()


def test_a_full_disk_is_one_message(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store_module.StoreFolder, "write", full)
    with pytest.raises(StoreError, match="No space left on device"):
        runs.extract()


def test_bfloat16_encoding_stays_near(runs: Runs) -> None:
    exact = contents(open_after(runs, "a"))
    fast = contents(open_after(runs, "b", compute_dtype="bfloat16"))
    error = np.abs(fast - exact).max() / np.abs(exact).max()
    assert 0 < error < 0.03
