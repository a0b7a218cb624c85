"""How long a run takes from the start of its job: steps, validations, checkpoints, lives. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from launcher.estimates.throughput import Pace
from launcher.measures import Measure

LEAST_LIFE_SHARE = 0.1
"""Part of a time limit that must be left for training, else a run would never get on."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is left to be done of a run; None is unknown."""

    batch_size: int
    """Samples of an optimizer step over all ranks."""
    steps: int | None = None
    """Optimizer steps that are left."""
    samples_per_epoch: int | None = None
    validations: int = 0
    """Validations that are left."""


@dataclass(frozen=True, kw_only=True)
class Overheads:
    """What a run does besides its steps, as an attempt of it was seen to do it [s]."""

    start_s: float = 0.0
    validation_s: float = 0.0
    validation_rate: float | None = None
    """Samples per second of training where that validation was timed; it scales alike."""
    checkpoint_s: float = 0.0


def overheads_in(measures: Sequence[Measure]) -> Overheads:
    """The newest figure of each kind; 0 where nobody measured it.

    Args:
        measures: Attempts of the profile, newest first.
    """
    timed = ((m, _validation_s(m)) for m in measures if m.samples_per_s)
    validated = next(((m, seconds) for m, seconds in timed if seconds is not None), None)
    return Overheads(
        start_s=_newest([m.start_s for m in measures]),
        validation_s=validated[1] if validated else 0.0,
        validation_rate=validated[0].samples_per_s if validated else None,
        checkpoint_s=_newest([m.checkpoint_s for m in measures]),
    )


def _validation_s(measure: Measure) -> float | None:
    """Time of a whole validation [s]; a probe's is a part of one, if it says of what size."""
    if measure.validation_s is None or not measure.is_probe:
        return measure.validation_s
    loader, seen = measure.loader("validate"), measure.validation_batches
    if loader is None or not loader.samples or not loader.batch_size or not seen:
        return None
    batches = math.ceil(loader.samples / (loader.batch_size * measure.world_size))
    return measure.validation_s * max(1.0, batches / seen)


def _newest(values: Sequence[float | None]) -> float:
    return next((value for value in values if value is not None), 0.0)


@dataclass(frozen=True, kw_only=True)
class Duration:
    """Time of a run from the start of its first job [s]; None is unknown."""

    epoch_s: float | None
    """An epoch of training, its validation left out."""
    total_s: float | None
    """All jobs together, without the times between them."""
    lives: int = 1
    """Jobs that it takes: at the time limit a run is put back into the queue and goes on."""


def duration(
    pace: Pace, work: Work, overheads: Overheads, limit_s: float, checkpoint_every_s: float
) -> Duration:
    """How long `work` takes at a pace.

    Args:
        pace: Speed of the steps.
        work: What is left.
        overheads: What comes besides.
        limit_s: Time limit of one job [s].
        checkpoint_every_s: Time between two resume checkpoints [s].
    """
    epoch_s = None
    if work.samples_per_epoch:
        epoch_s = work.samples_per_epoch / pace.samples_per_s
    if work.steps is None:
        return Duration(epoch_s=epoch_s, total_s=None)
    slower = (overheads.validation_rate or pace.samples_per_s) / pace.samples_per_s
    busy_s = work.steps * pace.step_s(work.batch_size)
    busy_s += work.validations * overheads.validation_s * slower
    if checkpoint_every_s > 0:
        busy_s += math.floor(busy_s / checkpoint_every_s) * overheads.checkpoint_s
    share_s = max(limit_s - overheads.start_s, limit_s * LEAST_LIFE_SHARE)
    lives = max(1, math.ceil(busy_s / share_s))
    return Duration(epoch_s=epoch_s, total_s=busy_s + lives * overheads.start_s, lives=lives)
