"""task=extract: run a frozen encoder once over all windows that any run may read."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from experiments import fitting
from experiments.data import Splits, datasets
from experiments.data.dataset import PlanningDataset
from experiments.data.decoding import collate
from experiments.data.finding import point_to
from experiments.data.keeping import homes_of, writable
from experiments.devices import device_of
from experiments.features.encoding import TORCH_DTYPES, ShardsWriter, encoded
from experiments.features.identity import Indices, facts_of, needed_windows, tokens_of
from experiments.features.store import StoreFolder
from experiments.models.backbone import build_backbone
from experiments.models.finetune import FrozenBackbone
from experiments.models.pooling import pooled
from experiments.settings import ExperimentConfig
from experiments.workers import give_way
from launcher.context import RunContext
from launcher.errors import ConfigError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Work:
    """What one rank of one extraction does."""

    store: StoreFolder
    windows: Indices
    """Of each row of the store."""
    shards: list[int]
    """Those of its share that are not there."""


def extract(config: ExperimentConfig, context: RunContext) -> dict[str, Any]:
    """Fill this run's share of the store; what is there whole is kept.

    Returns:
        Which store, how much of it was made, and how fast.

    Raises:
        ConfigError: features of such an encoder cannot be stored.
        DataError: a sensor file is missing or torn; features that are not finite.
        StoreError: the disk refuses.
    """
    if config.why_online is not None:
        raise ConfigError(
            f"`task=extract` cannot be: {config.why_online}",
            hint="features are stored of frozen encoders with weights of their own",
        )
    fitting.seed(config.trainer.seed, context)
    # Each window is read once: to keep what was decoded would only cost space.
    splits = datasets(replace(config.data, fraction=1.0, decoded_dir=None))
    encoder = frozen_encoder(config, context)
    work = _planned(config, context, splits, encoder)
    began = time.monotonic()
    made, waited_s = _fill(work, splits, encoder, config, context)
    took_s = time.monotonic() - began
    point_to(work.store, context.run_dir)
    log.info("stored %d of %d windows in %s, %.1f s", made, len(work.windows),
             work.store.folder, took_s)  # fmt: skip
    return {
        "store": work.store.folder.name,
        "store_gb": work.store.layout.row_bytes * len(work.windows) / 1e9,
        "windows": len(work.windows),
        "windows_of_rank_0": made,
        "windows_per_s_of_rank_0": made / took_s if made else 0.0,
        "waited_for_disk_s": waited_s,
    }


def frozen_encoder(config: ExperimentConfig, context: RunContext) -> FrozenBackbone:
    """Build the encoder as heads see it: frozen, and pooled if they want that."""
    backbone = build_backbone(
        config.backbone,
        image_hw=config.data.image_hw,
        bev_px=config.data.bev_px,
        weights=fitting.encoder_weights(config, context),
    )
    if backbone.spec.weights_sha256 is None:
        raise ConfigError(
            f"`backbone.weights={config.backbone.weights}` loads no file, so nothing says which"
            " encoder the features are of",
            hint="use the weights of a file, or of a pretraining that is required as `encoder`",
        )
    return FrozenBackbone(pooled(backbone, config.features.pool_hw))


def _planned(
    config: ExperimentConfig, context: RunContext, splits: Splits, encoder: FrozenBackbone
) -> _Work:
    windows = needed_windows(splits)
    tokens = tokens_of(splits.source, windows)
    spec = encoder.spec
    store = StoreFolder.begin(
        writable(homes_of(config.data), "features can be"),
        facts_of(config, encoder, tokens),
        tokens,
        (spec.num_tokens, spec.token_dim),
    )
    part, parts = config.features.numbered_part()
    worker = part * context.world_size + context.rank
    mine = range(worker, store.layout.num_shards, parts * context.world_size)
    missing = store.missing(mine, verify=True)
    log.info("%d of %d shards of this share are to be made", len(missing), len(mine))
    return _Work(store, windows, missing)


def _fill(
    work: _Work,
    splits: Splits,
    encoder: FrozenBackbone,
    config: ExperimentConfig,
    context: RunContext,
) -> tuple[int, float]:
    """Make what is missing; returns the number of windows and how long the disk held it up [s]."""
    rows = [row for shard in work.shards for row in work.store.layout.rows_of(shard)]
    if not rows:
        return 0, 0.0
    device = device_of(context)
    encoder.to(device, getattr(torch, config.features.compute_dtype))
    with ShardsWriter(work.store, work.shards) as writer:
        for tokens in encoded(
            encoder,
            _loader(work.windows[np.array(rows)], splits, encoder, config, device),
            device=device,
            dtype=TORCH_DTYPES[config.features.dtype],
            context=context,
        ):
            writer.take(tokens)
    return len(rows), writer.waited_s


def _loader(
    windows: Indices,
    splits: Splits,
    encoder: FrozenBackbone,
    config: ExperimentConfig,
    device: torch.device,
) -> DataLoader[Any]:
    # Recorded data is read once: to keep what was decoded would only cost memory.
    cached = config.data.cache_decoded and config.data.source == "synthetic"
    return DataLoader(
        PlanningDataset(splits.source, windows, encoder.spec.sensors, cache_decoded=cached),
        batch_size=config.features.batch_size,
        collate_fn=collate,
        num_workers=config.data.num_workers,
        pin_memory=device.type == "cuda",
        worker_init_fn=give_way,
    )
