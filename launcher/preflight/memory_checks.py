"""Checks of the memory that a run needs, by what earlier runs of its profile took."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from launcher.estimates import memory
from launcher.preflight.findings import Finding, Level, Subject, check, distinct
from launcher.preflight.run_checks import by_profile

if TYPE_CHECKING:
    from launcher.compose import WantedRun

_LEVELS: dict[bool | None, Level] = {None: "unknown", True: "ok", False: "error"}


@check
def host_memory(subject: Subject) -> Iterator[Finding]:
    """The nodes' memory holds ranks, workers and loaders, as measured runs say."""
    for run in distinct(subject.runs, by_profile):
        yield _finding("host_memory", run, memory.host_memory(run, subject.measures(run)))


@check
def gpu_memory(subject: Subject) -> Iterator[Finding]:
    """A GPU holds the model and one micro-batch, as measured runs say."""
    for run in distinct(subject.runs, by_profile):
        if run.shape.gpus_per_node:
            yield _finding("gpu_memory", run, memory.gpu_memory(run, subject.measures(run)))


def _finding(name: str, run: WantedRun, answer: memory.MemoryAnswer) -> Finding:
    return Finding(
        check=name,
        level=_LEVELS[answer.fits],
        runs=run.name,
        reason=answer.reason,
        hint="; ".join(answer.proposals),
        budget=answer.budget,
        limit_gb=answer.limit_gb,
    )
