"""What a run asks of a site, as its config says it before a place is chosen. Nothing is asked yet.

Runs of equal questions get equal answers, so each question is put once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from launcher import halves, identity, resolvers
from launcher.compose import WantedRun
from launcher.errors import ConfigError
from launcher.estimates.duration import Work
from launcher.hydra_config import pickled
from launcher.measures import Measure
from launcher.partitions import folded
from launcher.planning.candidates import Batch, Candidate, asked_gpus, candidates, counts
from launcher.settings import StudyLauncherConf

_FAR = 512
"""GPUs more or less than asked for, up to which legal shapes are looked for."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """Where could such a run go, and how long would it take there?"""

    config: DictConfig
    settings: StudyLauncherConf
    """With the cluster as the profile says it, not `placed`."""
    profile_dir: Path
    done_steps: int = 0
    """Optimizer steps that earlier lives have saved."""

    @property
    def key(self) -> str:
        """Equal where the answer is."""
        keys = [*vars(self.settings.config_keys).values(), *self.settings.memory.grows_with]
        wanted = [str(self.value(key)) for key in keys]
        return identity.digest([str(self.profile_dir), wanted, self.done_steps, self.site_key])

    @property
    def site_key(self) -> str:
        """Equal where SLURM is told the same: such runs are one array."""
        s = self.settings
        shape = (s.resources, s.cluster, s.plan_gpus, s.setup, s.additional_parameters)
        return repr([*shape, s.constraint, s.exclude, s.gres])

    def value(self, key: str) -> Any:
        """Value of a dotted key of the config; None where it has no such key."""
        return OmegaConf.select(self.config, key, throw_on_resolution_failure=False)

    def number(self, key: str) -> int | None:
        """The same for a count; None also where it is none, as `max_steps: -1`."""
        value = self.value(key)
        is_count = isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0
        return int(value) if is_count else None

    @property
    def batch(self) -> Batch:
        """What has to divide over the ranks."""
        keys = self.settings.config_keys
        return Batch(
            size=self.number(keys.batch_size), max_micro=self.number(keys.max_micro_batch_size)
        )

    def candidates(self, *, compares: bool) -> list[Candidate]:
        """Places and numbers of GPUs; those that the config contradicts have a problem.

        Args:
            compares: Whether other numbers of GPUs than those asked for are of interest.
        """
        gpus = counts(self.settings, compares=compares)
        return [self._checked(one) for one in candidates(self.settings, gpus, self.batch)]

    def nearest(self) -> list[Candidate]:
        """Of each partition, the numbers of GPUs below and above the asked one that are legal."""
        asked = asked_gpus(self.settings.resources)
        if not asked:
            return []
        found: dict[tuple[str | None, bool], Candidate] = {}
        below = range(asked - 1, 0, -1)
        above = range(asked + 1, 2 * asked + 1)
        for count in (*below[:_FAR], *above[:_FAR]):
            for candidate in candidates(self.settings, [count], self.batch):
                if not self._checked(candidate).problem:
                    found.setdefault((candidate.partition, count > asked), candidate)
        return sorted(found.values(), key=lambda c: (abs(c.gpus - asked), c.partition or ""))

    def longest_min(self) -> int | None:
        """Longest time limit of its partitions [min]; None where one of them has none."""
        limits = [partition.max_time_min for partition in self.settings.cluster.partitions.values()]
        known = [limit for limit in limits if limit is not None]
        return max(known) if known and len(known) == len(limits) else None

    def _checked(self, candidate: Candidate) -> Candidate:
        if candidate.shape is None:
            return candidate
        try:
            halves.check(candidate.settings, candidate.shape)
            keys = candidate.settings.config_keys
            halves.check_trainer(self.value, keys, candidate.shape)
        except ConfigError as error:
            return replace(candidate, problem=f"does not fit: {error.message}")
        return candidate

    def run_at(self, candidate: Candidate) -> WantedRun:
        """A run as it would be if it went there."""
        assert candidate.shape is not None
        return WantedRun(
            key="",
            name=candidate.settings.name,
            overrides=(),
            run_dir=Path(),
            pickle=pickled(self.config),
            settings=candidate.settings,
            shape=candidate.shape,
            profile_dir=self.profile_dir,
        )

    def work(self, measures: Sequence[Measure]) -> Work | None:
        """What is left to be done; None where neither config nor attempts say the batch.

        Args:
            measures: Attempts of the profile, newest first.
        """
        keys = self.settings.config_keys
        told = next((m for m in measures if m.total_steps and m.batch_size), None)
        size = self.batch.size or (told.batch_size if told else None)
        if size is None:
            return None
        samples = _samples(measures)
        epoch_steps = math.ceil(samples / size) if samples else None
        every = self.number(keys.val_every_steps) or epoch_steps
        total = self._total_steps(epoch_steps)
        if total is None and told is not None and told.total_steps and told.batch_size:
            # As many samples in all, whatever the batch.
            total = math.ceil(told.total_steps * told.batch_size / size)
        left = None if total is None else max(0, total - self.done_steps)
        validations = left // every if left and every else 0
        return Work(batch_size=size, steps=left, samples_per_epoch=samples, validations=validations)

    def _total_steps(self, epoch_steps: int | None) -> int | None:
        keys = self.settings.config_keys
        epochs = self.number(keys.max_epochs)
        by_epochs = epochs * epoch_steps if epochs and epoch_steps else None
        said = [n for n in (self.number(keys.max_steps), by_epochs) if n]
        return min(said) if said else None


def _samples(measures: Sequence[Measure]) -> int | None:
    """Samples of the training data over all ranks, as an attempt counted them."""
    found = (loader.samples for m in measures if (loader := m.loader("train")) is not None)
    return next((samples for samples in found if samples), None)


def question_of(
    config: DictConfig, *, profile_dir: Path | None = None, done_steps: int = 0
) -> Question:
    """The question of a composed config whose place is not chosen, or whose place is given up.

    Args:
        config: With its `hydra` part.
        profile_dir: Where such runs are remembered; None finds it out by the config.
        done_steps: Optimizer steps that earlier lives have saved.

    Raises:
        ConfigError: its launcher is none of ours.
    """
    settings = OmegaConf.to_object(config.hydra.launcher)
    if not isinstance(settings, StudyLauncherConf):
        raise ConfigError("`hydra.launcher` is not one of ours: hydra/launcher=slurm|local|debug")
    settings = folded(settings)
    if profile_dir is None:
        profile_dir = Path(settings.profiles_dir).resolve() / resolvers.profile_of(config)
    return Question(
        config=config, settings=settings, profile_dir=profile_dir, done_steps=done_steps
    )
