"""Where feature stores lie, and which of them a run may read."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from experiments import fitting
from experiments.data.finding import fitting as fitting_folder
from experiments.features.identity import expected_facts
from experiments.features.store import FeatureStore, StoreFolder
from experiments.settings import SENSORS_OF, ExperimentConfig
from launcher.context import RunContext

LABEL = "features"
"""Required extractions are called so, or `features/<number>`."""


def weights_of(config: ExperimentConfig, context: RunContext) -> Path | None:
    """File that the encoder of a run is loaded from."""
    return config.backbone.weights_file or fitting.encoder_weights(config, context)


def open_store(config: ExperimentConfig, context: RunContext) -> FeatureStore:
    """Open the store that a run needs: the one its extractions filled, or the one that fits.

    Raises:
        DataError: there is none, it is not whole, or it holds features of something else; then
            all that differs is named, with both values.
    """
    path = weights_of(config, context)
    digest = None if path is None else _sha256(path)
    expected = expected_facts(config, SENSORS_OF[config.backbone.name], digest)
    hint = "run the same command with task=extract, or take features=auto, which does it"
    store = fitting_folder(StoreFolder, expected, config.data, context, label=LABEL, hint=hint)
    return FeatureStore.open(store.folder)


@lru_cache
def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
