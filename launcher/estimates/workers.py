"""What a dataloader worker holds alone, told apart by what it serves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from launcher.estimates.loaders import Stage


@dataclass(frozen=True, kw_only=True)
class Worker:
    """A dataloader worker, as one process."""

    own_gb: float
    """What it holds alone, without batches and what the config is declared to need."""
    in_flight: float = 0.0
    """Batches that it has ready."""
    sample_gb: float = 0.0
    """Tensors of a batch, by the samples that a rank holds at once."""

    def all_gb(self, micro_batch_size: int) -> float:
        """All but what is declared, for samples that a rank holds at once."""
        return self.own_gb + self.in_flight * self.sample_gb * micro_batch_size


@dataclass(frozen=True, kw_only=True)
class Look:
    """Workers of a rank that were looked at together."""

    train: int
    validate: int
    own_gb: float
    """What all of them hold alone, without batches and declared needs."""


def own_gb(looks: Sequence[Look]) -> dict[Stage, float]:
    """What a worker of each kind holds, by least squares; kinds that were never seen are absent.

    Where both kinds always lived together in the same proportion they are taken to be alike.
    """
    tt = sum(look.train**2 for look in looks)
    vv = sum(look.validate**2 for look in looks)
    tv = sum(look.train * look.validate for look in looks)
    tg = sum(look.train * look.own_gb for look in looks)
    vg = sum(look.validate * look.own_gb for look in looks)
    if not tt and not vv:
        return {}
    if not vv:
        return {"train": max(tg / tt, 0.0)}
    if not tt:
        return {"validate": max(vg / vv, 0.0)}
    determinant = tt * vv - tv * tv
    if determinant > SINGULAR * tt * vv:
        train_gb = (tg * vv - vg * tv) / determinant
        val_gb = (vg * tt - tg * tv) / determinant
        if train_gb >= 0 and val_gb >= 0:
            return {"train": train_gb, "validate": val_gb}
    n = sum(look.train + look.validate for look in looks)
    alike_gb = max(sum(look.own_gb for look in looks) / n, 0.0)
    return {"train": alike_gb, "validate": alike_gb}


SINGULAR = 1e-3
"""Proportions that differ by less than this share tell the kinds not apart."""
