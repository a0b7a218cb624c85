"""What a task may know about the run it is: folder, rank, inputs, and its Trainer arguments."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher import files, stopping
from launcher.errors import LauncherError
from launcher.settings import ProbeConfig, RecoveryConfig
from launcher.world import node_name

if TYPE_CHECKING:
    from launcher.records import AttemptRecord, Place


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """The attempt that this process is a rank of."""

    run_dir: Path
    key: str
    name: str
    attempt: str
    rank: int = 0
    local_rank: int = 0
    ranks_per_node: int = 1
    num_nodes: int = 1
    cpus_per_rank: int = 1
    accelerator: str = "cpu"
    """`gpu` where the shape asked for GPUs, else `cpu`."""
    inputs: dict[str, Path] = field(default_factory=dict)
    """Folders of the finished runs that this one requires, by name."""
    recovery: RecoveryConfig | None = None
    """How the run survives; None where nothing starts it again, as in the debug launcher."""
    place: Place | None = None
    """Where it was sent."""
    profile_dir: Path | None = None
    """Folder in which runs that take the same are remembered."""
    probe: ProbeConfig | None = None
    """What it measures, where it only measures."""
    mem_gb: float | None = None
    """Host memory that it asked of each node [GB]."""
    began_s: float = field(default_factory=time.time)
    """When this process began to be it, in seconds since the epoch."""
    ends_s: float | None = None
    """When the time limit ends this attempt, in seconds since the epoch."""
    lead_s: float = 0.0
    """How long before that the scheduler asks it to stop [s]."""

    @property
    def world_size(self) -> int:
        """Training processes in all."""
        return self.num_nodes * self.ranks_per_node

    def record(self, job_id: str) -> AttemptRecord:
        """The record of this rank's life, as it begins now."""
        from launcher.records import AttemptRecord  # a program's --help needs no records

        return AttemptRecord(
            attempt=self.attempt,
            key=self.key,
            job_id=job_id,
            host=node_name(),
            pid=os.getpid(),
            world_size=self.world_size,
            started=files.now(),
        )

    def raise_if_stopping(self) -> None:
        """Leave a long loop of the task's own, between two pieces of work that are saved.

        Trainers of Lightning need no such call.

        Raises:
            RunStopped: the scheduler asked this run to stop; let it pass.
        """
        if stopping.requested() is not None:
            raise stopping.RunStopped

    def trainer_arguments(self) -> dict[str, Any]:
        """Arguments of `lightning.Trainer` that follow from the shape: pass them on unchanged."""
        from launcher.callbacks.lightning import trainer_arguments

        return trainer_arguments(self)


_current: RunContext | None = None
_notes: dict[str, Any] = {}
_counts: dict[str, int] = {}


def running() -> RunContext | None:
    """The run that this process belongs to, or None outside of runs."""
    return _current


def current() -> RunContext:
    """The run that this process belongs to.

    Raises:
        LauncherError: this process was not started by a launcher.
    """
    if _current is None:
        raise LauncherError(
            "this process is not a run of a launcher",
            hint="start it with `python train.py`, or pass a RunContext of your own",
        )
    return _current


def enter(context: RunContext | None) -> None:
    """Set, or with None clear, the run that this process belongs to."""
    global _current
    _current = context
    _notes.clear()
    _counts.clear()


def note(**values: Any) -> None:
    """Keep fields of the attempt's record that are only known inside the task."""
    _notes.update(values)


def count(what: str) -> int:
    """How often this was asked before in the present run, e.g. to number its trainings."""
    _counts[what] = _counts.get(what, 0) + 1
    return _counts[what] - 1


def notes() -> dict[str, Any]:
    """What was noted since the run was entered."""
    return dict(_notes)
