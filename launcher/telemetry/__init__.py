"""What a rank takes while it lives: memory by phase, and what the task's side knows of its speed.

`measuring` is entered before anything heavy, `enter` called by whoever knows the phase. What is
measured, how, and at what price: docs/explanation/telemetry.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from launcher.context import RunContext
from launcher.records import Phase
from launcher.telemetry.sampler import Facts, GpuLook, Sampler

__all__ = ["ask", "enter", "measuring", "note", "settle"]

_sampler: Sampler | None = None


@contextmanager
def measuring(context: RunContext) -> Iterator[Sampler]:
    """Measure this rank from a thread until the block is left."""
    global _sampler
    sampler = _sampler = Sampler(context)
    sampler.start()
    try:
        yield sampler
    finally:
        _sampler = None
        sampler.finish()


def enter(phase: Phase) -> None:
    """Say what this rank is doing from now on; without effect where nothing is measured.

    Called around single batches, hence no more than one append.
    """
    if _sampler is not None:
        _sampler.enter(phase)


def note(**facts: Any) -> None:
    """Keep fields of `launcher.records.RankUse` that are known once."""
    if _sampler is not None:
        _sampler.note(facts)


def settle() -> None:
    """Write the last figures now, so that who sees the rank's end recorded sees them too."""
    if _sampler is not None:
        _sampler.finish()


def ask(facts: Facts | None, gpu: GpuLook | None = None) -> None:
    """Let `facts` be asked for fields that change, before each write; None asks no longer."""
    if _sampler is not None:
        _sampler.ask(facts, gpu)
