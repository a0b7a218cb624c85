"""How much an attempt held where, from its measure. Pure."""

from __future__ import annotations

from launcher.measures import Measure
from launcher.records import Phase

DOING: dict[Phase, str] = {
    "start": "while it started",
    "train": "while it trained",
    "switch": "on the way from training to validation",
    "validate": "while it validated",
    "checkpoint": "while it saved a checkpoint",
    "other": "outside of training and validation",
}
"""Phases in words that go on a sentence."""


def host_gb(measure: Measure, phase: Phase | None = None) -> float | None:
    """Most memory of the fullest node, in one phase or in all [GB]; None if nobody looked.

    Where no cgroup tells, as on a machine of one's own, it is the sum over ranks and workers.
    """
    told = measure.node_gb(phase)
    if told is not None:
        return told
    return max((_summed_gb(measure, host, phase) for host in measure.hosts), default=0.0) or None


def _summed_gb(measure: Measure, host: str, phase: Phase | None) -> float:
    return sum(
        max(
            (use.rank_gb + use.workers_gb for use in rank.phases if phase in (None, use.phase)),
            default=0.0,
        )
        for rank in measure.node_ranks(host)
    )


def peak_phase(measure: Measure) -> Phase | None:
    """The phase in which the fullest node held most."""
    phases: list[Phase] = ["start", "train", "switch", "validate", "checkpoint", "other"]
    known = [(gb, phase) for phase in phases if (gb := host_gb(measure, phase)) is not None]
    return max(known)[1] if known else None


def gpu_mem_gb(measure: Measure) -> float | None:
    """Memory of its smallest GPU [GB]."""
    sizes = [rank.gpu_mem_gb for rank in measure.ranks if rank.gpu_mem_gb is not None]
    return min(sizes, default=None)
