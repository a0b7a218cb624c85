"""Keep a run on this machine within its memory: by a cgroup of its own, else by watching it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import psutil

from launcher.memory import CGROUPS, counted_kills

LOOK_EVERY_S = 0.5
"""Time between two looks at the memory of a run that has no cgroup [s]."""
_MEMBERSHIP = Path("/proc/self/cgroup")
_EMPTY_WITHIN_S = 2.0


class Limit(Protocol):
    """A bound on the memory of all processes of one life of a run."""

    def admit(self) -> None:
        """Called in a process that was just forked, before it becomes a rank."""

    def look(self, processes: Callable[[], Sequence[psutil.Process]]) -> None:
        """Called often, with what lists the processes of the run."""

    def kills(self) -> int:
        """Processes that were killed so far because the run held too much."""

    def how(self) -> str:
        """How that is known, in one sentence."""

    def close(self) -> None:
        """The run has left."""


@dataclass(kw_only=True)
class NoLimit:
    """Of a run that does not say how much memory it needs."""

    def admit(self) -> None:
        """Nothing to join."""

    def look(self, processes: Callable[[], Sequence[psutil.Process]]) -> None:
        """Nothing to look at."""

    def kills(self) -> int:
        """Nobody is killed."""
        return 0

    def how(self) -> str:
        """That there is no limit."""
        return "the run has no memory limit"

    def close(self) -> None:
        """Nothing to remove."""


@dataclass(kw_only=True)
class Cgroup:
    """The kernel keeps the limit: a memory cgroup of the run's own, version 1 or 2."""

    folder: Path
    mem_gb: float

    @classmethod
    def make(cls, mem_gb: float, name: str) -> Cgroup | None:
        """A cgroup with that limit, or None where this process may not make one."""
        for parent in _parents():
            folder = parent / name
            _remove(folder)  # left by a process of the same number that was killed
            try:
                folder.mkdir()
                _set_limit(folder, round(mem_gb * 2**30))
            except OSError:  # not ours to make, or no memory controller there
                _remove(folder)
                continue
            if _admits(folder):
                return cls(folder=folder, mem_gb=mem_gb)
            _remove(folder)
        return None

    def admit(self) -> None:
        """Join it; what this process starts follows."""
        (self.folder / "cgroup.procs").write_text("0")

    def look(self, processes: Callable[[], Sequence[psutil.Process]]) -> None:
        """The kernel looks."""

    def kills(self) -> int:
        """What the kernel counted."""
        return counted_kills([self.folder / "memory.events", self.folder / "memory.oom_control"])

    def how(self) -> str:
        """In the words of the verdict."""
        return (
            f"the kernel killed {self.kills()} process(es) in the run's cgroup,"
            f" which is limited to {self.mem_gb:g} GB"
        )

    def close(self) -> None:
        """Remove it once its last process is gone."""
        until = time.monotonic() + _EMPTY_WITHIN_S
        while not _remove(self.folder) and time.monotonic() < until:
            time.sleep(0.05)


@dataclass(kw_only=True)
class Watchdog:
    """Where no cgroup can be made: the largest process is killed when all hold too much.

    Shared pages count once (PSS). What is allocated and freed between two looks goes unseen.
    """

    mem_gb: float
    _looked_s: float = 0.0
    _killed: list[str] = field(default_factory=list)

    def admit(self) -> None:
        """Nothing to join."""

    def look(self, processes: Callable[[], Sequence[psutil.Process]]) -> None:
        """Add up, and kill the largest process if it is too much."""
        if time.monotonic() - self._looked_s < LOOK_EVERY_S:
            return
        self._looked_s = time.monotonic()
        sizes = _sizes(processes(), self.mem_gb * 2**30)
        held = sum(sizes.values())
        if held <= self.mem_gb * 2**30:
            return
        largest = max(sizes, key=lambda process: sizes[process])
        with contextlib.suppress(psutil.NoSuchProcess):
            largest.kill()
            self._killed.append(f"process {largest.pid} at {held / 2**30:.2f} GB in all")

    def kills(self) -> int:
        """How often it had to."""
        return len(self._killed)

    def how(self) -> str:
        """In the words of the verdict."""
        return (
            f"the launcher killed {', '.join(self._killed)}: the run is limited to"
            f" {self.mem_gb:g} GB, and no cgroup can be made here that would keep it to that"
        )

    def close(self) -> None:
        """Nothing to remove."""


def limit(mem_gb: float | None, name: str) -> Limit:
    """The strictest bound that this process may set.

    Args:
        mem_gb: Memory of all processes together; None for no bound.
        name: Of the cgroup. `job_<number>` is what `launcher.memory` reads as a job's.
    """
    if mem_gb is None:
        return NoLimit()
    return Cgroup.make(mem_gb, name) or Watchdog(mem_gb=mem_gb)


def remove_all(names: str) -> None:
    """Remove cgroups whose names match a pattern, once their processes are gone."""
    for folder in [path for parent in _parents() for path in parent.glob(names)]:
        Cgroup(folder=folder, mem_gb=0.0).close()


def _sizes(processes: Sequence[psutil.Process], bound: float) -> dict[psutil.Process, int]:
    """Bytes of each process: resident ones, and where their sum is too much without shared ones."""
    sizes = {}
    for process in processes:
        with contextlib.suppress(psutil.Error):
            sizes[process] = process.memory_info().rss
    if sum(sizes.values()) > bound:
        for process in sizes:
            with contextlib.suppress(psutil.Error):  # it has ended, or became another user's
                sizes[process] = process.memory_full_info().pss
    return sizes


def _parents() -> list[Path]:
    """Cgroups below which one with a memory limit might be made, nearest first."""
    try:
        lines = _MEMBERSHIP.read_text().splitlines()
    except OSError:
        return []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return [CGROUPS / "memory" / path.lstrip("/")]
        if not controllers and (CGROUPS / "cgroup.controllers").exists():
            own = CGROUPS / path.lstrip("/")
            above = [own, *own.parents]
            return [folder for folder in above if _offers_memory(folder)]
    return []


def _offers_memory(folder: Path) -> bool:
    """Whether cgroups (version 2) below have a memory limit."""
    try:
        return "memory" in (folder / "cgroup.subtree_control").read_text().split()
    except OSError:
        return False


def _set_limit(folder: Path, size: int) -> None:
    if (folder / "memory.limit_in_bytes").exists():
        (folder / "memory.limit_in_bytes").write_text(str(size))
        swap = folder / "memory.memsw.limit_in_bytes"
    else:
        (folder / "memory.max").write_text(str(size))
        swap, size = folder / "memory.swap.max", 0
    # A run that swaps is slower than one that ends; kernels without swap have no such file.
    with contextlib.suppress(OSError):
        swap.write_text(str(size))


def _admits(folder: Path) -> bool:
    """Whether a process may be moved there, tried with one that ends at once."""
    child = os.fork()
    if child == 0:
        try:
            (folder / "cgroup.procs").write_text("0")
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def _remove(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:  # its processes are still leaving, or it never was ours
        return False
    return True
