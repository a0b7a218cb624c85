"""Stored features in the places of encoder and sensors: heads notice nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from experiments.data.dataset import PlanningDataset
from experiments.data.source import SceneSource
from experiments.features.identity import Indices, spec_of, tokens_of
from experiments.features.store import FeatureStore
from experiments.models.backbone import Backbone, Encoded
from experiments.models.planning import PlanningModule, build_planning
from experiments.settings import ExperimentConfig
from experiments.vocabulary import Vocabulary


class StoredBackbone(Backbone):
    """Stands for the encoder that made a store; batches hold its `tokens` (B, N, C)."""

    like: Tensor

    def __init__(self, store: FeatureStore) -> None:
        super().__init__()
        self.store = store
        self.spec = spec_of(store.store.facts)
        # Casts and moves of the module reach it, so that tokens follow the head's precision.
        self.register_buffer("like", torch.zeros(0), persistent=False)

    def encode(self, batch: Mapping[str, Tensor]) -> Encoded:
        """Return the tokens of the batch in the precision of the module."""
        return Encoded(batch["tokens"].to(self.like.dtype))

    def describe(self) -> dict[str, Any]:
        """Return what the encoder said of itself."""
        described: dict[str, Any] = self.store.store.facts["encoder"]["describe"]
        return described

    def blocks(self) -> list[nn.Module]:
        """Return nothing: there is nothing that a policy could act on."""
        return []


class FeatureDataset(Dataset[dict[str, Tensor]]):
    """Windows as `PlanningDataset` gives them, with `tokens` (N, C) in place of sensors."""

    def __init__(self, store: FeatureStore, source: SceneSource, indices: Indices, **more: Any
                 ) -> None:  # fmt: skip
        """Take the windows `indices` of `source`.

        Args:
            store: Their features.
            source: Their labels.
            indices: Rows of `source.index`.
            more: What else `PlanningDataset` takes.

        Raises:
            ConfigError: there are no windows.
            DataError: the store lacks some of them.
        """
        self._labels = PlanningDataset(source, indices, (), **more)
        self._store = store
        self._rows = store.rows_of(tokens_of(source, np.asarray(indices)))
        self._is_bfloat16 = store.store.layout.dtype == "bfloat16"

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, n: int) -> dict[str, Tensor]:
        tokens = torch.from_numpy(self._store.read(int(self._rows[n])))
        if self._is_bfloat16:
            tokens = tokens.view(torch.bfloat16)
        return {**self._labels[n], "tokens": tokens}


def build_stored(
    config: ExperimentConfig, store: FeatureStore, vocabulary: Vocabulary | None = None
) -> PlanningModule:
    """Build the module of an experiment around stored features.

    Its checkpoints are those of the same experiment with the encoder itself, and so are its digest
    of the frozen weights, its number of parameters and the head that a seed draws.
    """
    module = build_planning(config, vocabulary=vocabulary, backbone=StoredBackbone(store))
    encoder = store.store.facts["encoder"]
    module.frozen_digest = encoder["digest"]
    module.parameters_elsewhere = int(encoder["parameters"])
    return module


def dataset_of(module: PlanningModule, source: SceneSource, indices: Indices, *,
               cache_decoded: bool = False, **more: Any
               ) -> Dataset[dict[str, Tensor]]:  # fmt: skip
    """Return the windows as `module` wants them: with sensors, or with stored tokens.

    Args:
        module: Who reads.
        source: Where windows come from.
        indices: Rows of `source.index`.
        cache_decoded: As in `PlanningDataset`.
        more: What else `PlanningDataset` takes.
    """
    store = store_of(module)
    if store is not None:
        return FeatureDataset(store, source, indices, **more)
    sensors: Iterable[Any] = module.backbone.spec.sensors
    return PlanningDataset(source, indices, sensors, cache_decoded=cache_decoded, **more)


def store_of(module: PlanningModule) -> FeatureStore | None:
    """Return the store that a module reads, if it reads one."""
    inner = getattr(module.backbone, "inner", None)
    return inner.store if isinstance(inner, StoredBackbone) else None
