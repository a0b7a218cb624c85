"""The planner of a run: from its encoder and vocabulary, which other runs have made."""

from __future__ import annotations

from experiments import fitting, vocabulary
from experiments.features.places import open_store
from experiments.features.stored import build_stored
from experiments.models.planning import PlanningModule, build_planning
from experiments.settings import ExperimentConfig
from experiments.settings.head import ANCHORED
from experiments.settings.presets import check_size
from launcher.context import RunContext
from launcher.errors import ConfigError


def planner(config: ExperimentConfig, context: RunContext) -> PlanningModule:
    """Build the planner of a run; seed torch first, so that random weights repeat.

    Raises:
        ConfigError: the config contradicts itself or what it is built from.
        DataError: a vocabulary or stored features are missing, torn, or of something else.
    """
    anchors = _vocabulary(config, context)
    if config.features.mode == "stored":
        module = build_stored(config, open_store(config, context), anchors)
    else:
        module = build_planning(config, fitting.encoder_weights(config, context), anchors)
    numbers = module.parameter_counts()["total"]
    check_size(config.head.preset, numbers + (anchors.anchors.size if anchors else 0))
    return module


def _vocabulary(config: ExperimentConfig, context: RunContext) -> vocabulary.Vocabulary | None:
    if config.head.name not in ANCHORED:
        return None
    if "vocabulary" not in context.inputs:
        raise ConfigError(
            f"`head={config.head.name}` has no vocabulary to choose from",
            hint="let the run require one: requires.vocabulary=[task=vocabulary]",
        )
    return vocabulary.load(context.inputs["vocabulary"] / vocabulary.FILE_NAME)
