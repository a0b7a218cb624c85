"""What teacher scores are of, in plain words; their folder is named by its hash."""

from __future__ import annotations

from experiments.data.facts import Facts, plain
from experiments.data.sharded import Tokens
from experiments.data.split import tokens_sha256
from experiments.scoring.pdm.scenes import scene_facts
from experiments.settings import ExperimentConfig
from experiments.settings.teacher import teachers_scenes
from experiments.vocabulary import Vocabulary

VERSION = 1
"""Raised when scores stored before are not to be read any more."""


def expected_facts(config: ExperimentConfig, vocabulary: Vocabulary, fingerprint: str) -> Facts:
    """Return what a run that learns from scores can say of those it needs.

    Args:
        config: The run.
        vocabulary: Whose trajectories are scored.
        fingerprint: Of the recordings that its windows come from.
    """
    return plain(
        {
            "version": VERSION,
            "vocabulary": {"sha256": vocabulary.sha256, "size": len(vocabulary)},
            "scorer": scene_facts(teachers_scenes(config.teacher, config.scoring)),
            "data": fingerprint,
        }
    )


def facts_of(
    config: ExperimentConfig, vocabulary: Vocabulary, fingerprint: str, tokens: Tokens
) -> Facts:
    """Return all that scores are of, whose windows are named by `tokens`."""
    facts = expected_facts(config, vocabulary, fingerprint)
    facts["windows"] = {
        "count": len(tokens),
        "tokens_sha256": tokens_sha256(token.decode() for token in tokens),
    }
    return facts
