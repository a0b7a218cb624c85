"""How the trajectories of a vocabulary are scored before a head learns from the scores."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import ListConfig

from experiments.settings.parts import listed, numbered
from experiments.settings.scoring import ScoringConfig
from launcher.errors import ConfigError, at_least

TAUGHT = ("nc", "dac", "ddc", "ttc", "ep", "comfort")
"""What of a PDM score of v1 a teacher keeps; a head takes the columns that it names."""


@dataclass(kw_only=True)
class TeacherConfig:
    """How the work of task=teacher is spread, and where it finds NAVSIM's scenes."""

    num_jobs: int = 1
    """Jobs that the scoring is spread over, each of them a run of its own."""
    part: str = "0/1"
    """Which share of the scores a run of task=teacher makes: the `k`-th of `n`, as `k/n` from 0."""
    metric_cache: str | None = None
    """Folder of the metric caches of the training windows; default `scoring.metric_cache`, whose
    folder often holds those of the test windows alone."""

    def __post_init__(self) -> None:
        at_least("teacher.num_jobs", self.num_jobs, 1)
        self.numbered_part()

    def numbered_part(self) -> tuple[int, int]:
        """Return which share `part` names, and of how many; ConfigError if it names none."""
        return numbered("teacher", self.part)


def teachers_scenes(teacher: TeacherConfig, scoring: ScoringConfig) -> ScoringConfig:
    """Return what scenes a teacher scores: those that the final score is of, by the PDM score.

    Raises:
        ConfigError: metric caches for the teacher, and other scenes for the final score.
    """
    if teacher.metric_cache is not None and scoring.scenes != "metric_cache":
        raise ConfigError(
            f"`teacher.metric_cache={teacher.metric_cache}` without `scoring.metric_cache`: the"
            " head would be taught by other scenes than it is judged by",
            hint="set scoring.metric_cache to the folder of the test windows",
        )
    folder = teacher.metric_cache or scoring.metric_cache
    return ScoringConfig(pdm=True, metric_cache=folder, scenes=scoring.scenes)


def required_teacher(task: str, teacher: str, vocabulary_of: str, num_jobs: int
                     ) -> ListConfig | None:  # fmt: skip
    """Return the overrides that turn a run into the scoring it needs first; None without.

    A vocabulary of all logs is scored for all of them, so that all label fractions share it.
    """
    if task != "train" or teacher != "scores":
        return None
    whole = ["data.fraction=1.0"] if vocabulary_of == "all" else []
    return ListConfig(["task=teacher", *whole, listed("teacher", num_jobs)])
