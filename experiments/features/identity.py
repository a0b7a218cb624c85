"""What a feature store holds the features of, in plain words, so that two can be told apart.

The facts of a store name its folder by their hash. A reader knows all of them but what only the
encoder itself can say (`UNKNOWN_BEFORE`), and compares the rest, key by key.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.data.assembly import Splits, open_source
from experiments.data.facts import Facts, plain
from experiments.data.source import SceneSource
from experiments.data.split import tokens_sha256
from experiments.models.backbone import BackboneSpec
from experiments.models.finetune import FrozenBackbone
from experiments.settings import DataConfig, ExperimentConfig

VERSION = 1
"""Raised when stores made before are not to be read any more."""
UNKNOWN_BEFORE = ("encoder.digest", "encoder.spec", "encoder.describe", "encoder.parameters")
"""Facts that a reader takes from the store."""
_NOT_OF_TOKENS = ("finetune", "optimizer", "pretrain", "weights", "auxiliary")
"""Settings of a backbone that do not say what it makes of a window once its weights are known."""

Indices = NDArray[np.int64]


def needed_windows(splits: Splits) -> Indices:
    """Return the windows that any run of these splits may read, given those at fraction 1."""
    return np.unique(np.concatenate([splits.train, splits.val, splits.test]))


def tokens_of(source: SceneSource, windows: Indices) -> NDArray[np.bytes_]:
    """Return the tokens of windows, as rows of a store are named."""
    return np.asarray(source.index.token[windows])


def expected_facts(config: ExperimentConfig, spec_sensors: Iterable[str],
                   weights_sha256: str | None) -> Facts:  # fmt: skip
    """Return what a run that reads features can say of the store it needs.

    Args:
        config: The run.
        spec_sensors: What its backbone reads.
        weights_sha256: Digest of the encoder's file.
    """
    data, features = config.data, config.features
    settings = {
        name: value
        for name, value in dataclasses.asdict(config.backbone).items()
        if name not in _NOT_OF_TOKENS
    }
    sensors = {
        "image": {"hw": data.image_hw, "cameras": data.cameras, "decode": data.decode},
        "lidar": {"bev_px": data.bev_px, "bev_range_m": data.bev_range_m},
    }
    facts: Facts = {
        "version": VERSION,
        "encoder": {"weights_sha256": weights_sha256, "settings": settings},
        "data": fingerprint(data),
        **{name: sensors[name] for name in sorted(spec_sensors)},
        "tokens": {
            "pool_hw": features.pool_hw,
            "dtype": features.dtype,
            "compute_dtype": features.compute_dtype,
        },
    }
    return plain(facts)


def facts_of(config: ExperimentConfig, encoder: FrozenBackbone, tokens: NDArray[np.bytes_]
             ) -> Facts:  # fmt: skip
    """Return all that a store is, whose windows are named by `tokens`."""
    spec = encoder.spec
    facts = expected_facts(config, spec.sensors, spec.weights_sha256)
    facts["encoder"] |= plain(
        {
            "digest": encoder.digest(),
            "spec": {**dataclasses.asdict(spec), "sensors": sorted(spec.sensors)},
            "describe": encoder.describe(),
            "parameters": sum(p.numel() for p in encoder.inner.parameters()),
        }
    )
    facts["windows"] = {
        "count": len(tokens),
        "tokens_sha256": tokens_sha256(token.decode() for token in tokens),
    }
    return facts


def spec_of(facts: Facts) -> BackboneSpec:
    """Return the spec of the encoder that made a store."""
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in facts["encoder"]["spec"].items()
    }
    return BackboneSpec(**{**values, "sensors": frozenset(values["sensors"])})


def fingerprint(data: DataConfig) -> str:
    """Say which recordings a config names."""
    return open_source(data).fingerprint
