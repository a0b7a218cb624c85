"""What a task may know about the run it is: folder, rank, inputs, and its Trainer arguments."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launcher.errors import LauncherError


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

    @property
    def world_size(self) -> int:
        """Training processes in all."""
        return self.num_nodes * self.ranks_per_node

    def trainer_arguments(self) -> dict[str, Any]:
        """Arguments of `lightning.Trainer` that follow from the shape: pass them on unchanged."""
        from launcher.callbacks.lightning import trainer_arguments

        return trainer_arguments(self)


_current: RunContext | None = None


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
