"""One life of a run on this machine: what its controller did, and saw of the ranks' ends."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import psutil

from launcher.records import Outcome
from launcher.scheduler.facts import JobFacts
from launcher.stopping import EXIT_KILLED, EXIT_STOPPED
from launcher.world import free_port

AS_ASKED = (0, EXIT_STOPPED, EXIT_KILLED)
"""Exit codes of a rank that was asked to stop: it did, or the watch inside of it saw to it."""


@dataclass(kw_only=True)
class Life:
    """One start of all ranks, from the first process to the last."""

    restart: int
    ends_s: float
    """When the time limit comes, in seconds since the epoch."""
    port: int = field(default_factory=free_port)
    """Where rank 0 listens."""
    ranks: dict[int, int] = field(default_factory=dict)
    """Process -> rank, of those that are alive."""
    exits: dict[int, int] = field(default_factory=dict)
    """Rank -> exit code, in the order in which they ended; -N for signal N."""
    asked: list[str] = field(default_factory=list)
    """Signals that this controller sent to all ranks."""
    kill_at_s: float = float("inf")
    """Monotonic time from when on nothing more is waited for."""
    is_over: bool = False
    """Whether the time limit came before all ranks had left."""
    stopped_by: str | None = None
    """Why this controller was told to end the run, if it was."""
    has_begun: bool = False
    """Whether a rank came as far as to give a sign of life."""

    @property
    def first_failure(self) -> tuple[int, int] | None:
        """Rank and exit code of the rank that failed first, before any was killed by us."""
        failed = ((r, code) for r, code in self.exits.items() if code not in (0, EXIT_STOPPED))
        return next(failed, None)

    def kill_within(self, wait_s: float) -> None:
        """Wait no longer than that from now."""
        self.kill_at_s = min(self.kill_at_s, time.monotonic() + wait_s)

    def seen(self, timeout_min: float, oom: str | None) -> Mapping[Outcome, list[str]]:
        """What the ends of the ranks say, a sentence each, by the outcome that it stands for.

        Args:
            timeout_min: The time limit [min].
            oom: How it is known that the run held too much memory, None if it did not.
        """
        found: dict[Outcome, list[str]] = {}
        if self.stopped_by is not None:
            found["cancelled"] = [f"controller: {self.stopped_by}"]
        elif self.is_over:
            found["walltime"] = [f"controller: the time limit of {timeout_min:g} min was reached"]
        elif "SIGUSR2" in self.asked and all(code in AS_ASKED for code in self.exits.values()):
            found["walltime"] = [
                f"controller: the time limit of {timeout_min:g} min was near, SIGUSR2 was sent"
            ]
        elif self.exits and not self.asked and set(self.exits.values()) == {EXIT_STOPPED}:
            found["preempted"] = ["controller: it was asked to stop, and not by this controller"]
        if oom is not None:
            found["host_oom"] = [f"controller: {oom}"]
        if self.first_failure is not None:
            rank, code = self.first_failure
            why: Outcome = "crash" if self.has_begun or code < 0 else "launch_failure"
            found[why] = [f"controller: rank {rank} {_end(code)}"]
        return found


@dataclass(kw_only=True)
class LocalControl:
    """What `launcher.scheduler.control.JobControl` is for a job of SLURM."""

    life: Life
    timeout_min: float
    mem_gb: float | None
    is_requeued: bool = False

    def facts(self) -> JobFacts:
        """The run as scontrol would describe it."""
        return JobFacts(
            state="RUNNING",
            restarts=self.life.restart,
            started_s=self.life.ends_s - self.timeout_min * 60,
            limit_min=self.timeout_min,
            mem_gb=self.mem_gb,
        )

    def nodes(self, partition: str) -> list[tuple[str, float]]:
        """This machine, with all of its memory."""
        return [(socket.gethostname(), psutil.virtual_memory().total / 2**30)]

    def requeue(self) -> None:
        """Have the ranks started again."""
        self.is_requeued = True

    def change(self, *, mem_gb: float | None, exclude: Sequence[str]) -> None:
        """The same; what changes, the next life reads from the verdict."""
        self.is_requeued = True


def _end(code: int) -> str:
    if code >= 0:
        return f"left with exit code {code}"
    return f"was ended by signal {-code} ({signal.Signals(-code).name})"
