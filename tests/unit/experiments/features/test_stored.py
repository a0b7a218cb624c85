"""Heads on stored features are heads on the encoder itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments.data import DataError
from experiments.data.sharded import TokenRows
from experiments.features.stored import FeatureDataset, StoredBackbone, dataset_of
from experiments.models import PlanningModule
from experiments.settings import DataConfig
from launcher.errors import ConfigError
from tests.unit.experiments.features.stored_runs import GRID_HW, Runs, batch_of
from tests.unit.experiments.models import tiny

TOLERANCE_M = {"float32": 1e-5, "float16": 2e-3, "bfloat16": 2e-2}
"""Poses reach about 20 m here; float16 keeps 11 bits of each number, bfloat16 8."""


@pytest.fixture
def runs(feature_world: DataConfig, encoder_file: Path, tmp_path: Path) -> Runs:
    return Runs.of(feature_world, encoder_file, tmp_path)


def learnt(module: PlanningModule, batch: dict[str, Any], steps: int = 5) -> list[float]:
    optimizer = module.configure_optimizers()["optimizer"]
    losses = []
    for _ in range(steps):
        terms = module.head.loss(module(batch), batch)
        losses.append(tiny.step(optimizer, torch.stack(list(terms.values())).sum()))
    return losses


@pytest.mark.parametrize("dtype", sorted(TOLERANCE_M))
def test_predictions_are_those_of_the_encoder_online(runs: Runs, dtype: str) -> None:
    runs.extract(dtype=dtype)
    online, stored, splits = runs.online(dtype=dtype), runs.stored(dtype=dtype), runs.splits()
    expected = learnt(online, batch_of(online, splits))
    losses = learnt(stored, batch_of(stored, splits))
    # Steps of Adam multiply what rounding has begun: 5 of them tenfold.
    assert losses == pytest.approx(expected, rel={"float32": 1e-4}.get(dtype, 2e-2))
    assert losses[0] == pytest.approx(expected[0], rel=1e-3)
    stored.load_checkpoint(saved(online))
    difference = stored.predict(batch_of(stored, splits)) - online.predict(batch_of(online, splits))
    assert difference.abs().max() <= TOLERANCE_M[dtype]


def saved(module: PlanningModule) -> dict[str, Any]:
    checkpoint: dict[str, Any] = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(checkpoint)
    return checkpoint


def test_checkpoints_fit_both_ways_and_numbers_of_parameters_agree(runs: Runs) -> None:
    runs.extract()
    online, stored = runs.online(), runs.stored()
    stored.load_checkpoint(saved(online))
    online.load_checkpoint(saved(stored))
    assert stored.parameter_counts() == online.parameter_counts()
    assert stored.frozen_digest == online.frozen_digest
    assert stored.backbone.spec == online.backbone.spec
    assert stored.backbone.describe() == online.backbone.describe()


def test_a_seed_draws_the_same_head(runs: Runs) -> None:
    runs.extract()
    online, stored = runs.online().head.state_dict(), runs.stored().head.state_dict()
    assert all(torch.equal(online[name], stored[name]) for name in online)


def test_pooled_features_are_the_pooled_tokens_of_the_encoder(runs: Runs) -> None:
    for grid in ((1, 1), (2, 4), GRID_HW):
        runs.extract(f"pool {grid}", pool_hw=grid)
        online, stored = runs.online(pool_hw=grid), runs.stored(pool_hw=grid)
        assert stored.backbone.spec.grid_hw == grid
        splits = runs.splits()
        ours = stored.backbone(batch_of(stored, splits)).tokens
        theirs = online.backbone(batch_of(online, splits)).tokens
        assert ours.shape == theirs.shape == (len(splits.train), grid[0] * grid[1], 32)
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_pooling_averages_the_grid(runs: Runs) -> None:
    batch = batch_of(runs.online(), runs.splits())
    whole = runs.online().backbone(batch).tokens
    one = runs.online(pool_hw=(1, 1)).backbone(batch).tokens
    assert torch.allclose(one[:, 0], whole.mean(dim=1), atol=1e-5)


def test_a_grid_finer_than_the_tokens_is_refused(runs: Runs) -> None:
    with pytest.raises(ConfigError, match=r"`features\.pool_hw=\[5, 8\]` is finer than the 4 x 8"):
        runs.online(pool_hw=(5, 8))


def test_pooling_leaves_a_learning_encoder_its_gradients(runs: Runs) -> None:
    module = runs.online(pool_hw=(2, 2), policy="full", mode="online")
    assert learnt(module, batch_of(module, runs.splits()), steps=3)[-1] > 0
    assert all(p.requires_grad for p in module.backbone.parameters())


def test_stored_batches_hold_labels_and_no_sensors(runs: Runs) -> None:
    runs.extract()
    stored, online, splits = runs.stored(), runs.online(), runs.splits()
    ours, theirs = batch_of(stored, splits), batch_of(online, splits)
    assert set(ours) == set(theirs) - {"image"} | {"tokens"}
    for name in set(theirs) - {"image"}:
        assert torch.equal(ours[name], theirs[name])


def test_the_stand_in_keeps_to_the_rules_of_frozen_backbones(runs: Runs) -> None:
    runs.extract()
    module = runs.stored()
    module.train()
    module.configure_optimizers()
    assert not [name for name in module.state_dict() if name.startswith("backbone")]
    assert isinstance(module.backbone.inner, StoredBackbone)


def test_tokens_follow_the_precision_of_the_module(runs: Runs) -> None:
    runs.extract(dtype="float16")
    module = runs.stored(dtype="float16").to(torch.bfloat16)
    batch = batch_of(module, runs.splits())
    assert batch["tokens"].dtype == torch.float16
    assert module.backbone(batch).tokens.dtype == torch.bfloat16


def test_bfloat16_tokens_keep_their_values(runs: Runs) -> None:
    runs.extract("fine")
    runs.extract("coarse", dtype="bfloat16")
    splits = runs.splits()
    fine = batch_of(runs.stored(), splits)["tokens"]
    coarse = batch_of(runs.stored(dtype="bfloat16"), splits)["tokens"]
    assert torch.equal(fine.to(torch.bfloat16), coarse)


def test_windows_outside_the_store_are_refused(runs: Runs) -> None:
    runs.extract()
    store, source = runs.open(), runs.splits().source
    gone = store._rows.tokens.copy()
    gone[0] = b"0"
    object.__setattr__(store, "_rows", TokenRows(gone, np.argsort(gone)))
    with pytest.raises(DataError, match="have no features"):
        FeatureDataset(store, source, np.arange(len(source.index)))


def test_a_module_with_an_encoder_reads_sensors(runs: Runs) -> None:
    splits = runs.splits()
    assert set(dataset_of(runs.online(), splits.source, splits.train)[0]) >= {"image", "status"}
