"""What this process and its dataloader workers hold, as the kernel counts it.

Workers are the daemonic children that were started through `multiprocessing`: dataloaders make
theirs so, whichever way they start (fork, spawn, forkserver), and helpers such as git or the
service of Weights & Biases are started otherwise. A training without Lightning is seen as well.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import process as children
from pathlib import Path

import psutil

GB = 2**30
PROC = Path("/proc")
_UNFILED = re.compile(rb"^Rss(?:Anon|Shmem):\s+(\d+) kB$", re.MULTILINE)
"""Memory of its own, and shared memory, such as batches that workers hand over."""


@dataclass(frozen=True)
class Held:
    """What one process holds [bytes]."""

    part: int
    """Anonymous and shared memory; pages that n processes share count by 1/n."""
    private: int
    """What it alone holds."""
    shared: int = 0
    """Shared memory in `part`."""


@dataclass(frozen=True)
class Family:
    """A rank and its workers [GB of 2**30 bytes]."""

    rank_gb: float
    workers: int
    workers_gb: float
    worker_private_gb: float
    """Mean of the workers."""

    @property
    def all_gb(self) -> float:
        """Of all of them."""
        return self.rank_gb + self.workers_gb


def worker_pids() -> list[int]:
    """Dataloader processes of this process that have not ended."""
    # Read without `active_children()`, which would collect the exit status of those that ended
    # before their dataloader could.
    found = []
    for child in list(getattr(children, "_children", ())):
        popen = getattr(child, "_popen", None)
        if child.daemon and popen is not None and popen.returncode is None:
            found.append(int(popen.pid))
    return sorted(found)


def look(pids: Sequence[int], sampled: Sequence[int] | None = None) -> Family:
    """What this process holds, and its workers `pids`; those that have just ended are left out.

    With `sampled` only those are looked at, and the other workers are taken to be like them:
    each look costs the kernel a walk over all pages, 10 ms and more for each GB of each process.
    """
    own = held(os.getpid())
    chosen = pids if sampled is None else sampled
    workers = {pid: found for pid in chosen if (found := held(pid)) is not None}
    flying = _in_flight(list(workers))
    for pid, batches in flying.items():
        known = workers[pid]
        # A batch that is being filled is mapped, and counted already.
        unmapped = max(batches - known.shared, 0)
        workers[pid] = Held(known.part + unmapped, known.private + unmapped)
    number = len(workers) + len(pids) - len(chosen) if workers else 0
    seen = max(len(workers), 1)
    return Family(
        rank_gb=(own.part if own is not None else 0) / GB,
        workers=number,
        workers_gb=sum(worker.part for worker in workers.values()) * number / seen / GB,
        worker_private_gb=sum(worker.private for worker in workers.values()) / seen / GB,
    )


def sample(pids: Sequence[int]) -> list[int]:
    """The oldest and the youngest: workers of one loader are alike, and loaders start in turn."""
    return sorted({min(pids), max(pids)}) if pids else []


def unfiled(pids: Sequence[int]) -> int:
    """Bytes of this process and of `pids` that are not of files, shared pages counted in each.

    Some ten microseconds for each process, however large it is.
    """
    total = 0
    for pid in (os.getpid(), *pids):
        with contextlib.suppress(OSError):  # it has ended, or there is no Linux
            status = (PROC / str(pid) / "status").read_bytes()
            total += sum(int(size_kb) * 1024 for size_kb in _UNFILED.findall(status))
    return total


def held(pid: int) -> Held | None:
    """What a process holds; None if it has ended."""
    try:
        text = (PROC / str(pid) / "smaps_rollup").read_text()
    except FileNotFoundError:
        return _resident(pid)
    except OSError:  # it is ending
        return None
    return parse(text)


def parse(text: str) -> Held | None:
    """Read a `smaps_rollup`; None of a process that has no memory any more."""
    words = (line.split() for line in text.splitlines()[1:])
    sizes = {word[0].rstrip(":"): int(word[1]) * 1024 for word in words if len(word) == 3}
    if "Pss" not in sizes:
        return None
    # Linux before 5.4 does not tell anonymous memory from files: all counts there.
    anonymous = sizes.get("Pss_Anon", sizes["Pss"])
    shared = sizes.get("Pss_Shmem", 0)
    # Pages of files that are only read are clean; private ones that are dirty are our own.
    private = min(sizes.get("Private_Dirty", 0), anonymous + shared)
    return Held(anonymous + shared, private, shared)


def _resident(pid: int) -> Held | None:
    """Where no kernel counts shared pages by part: all that is resident."""
    try:
        resident = psutil.Process(pid).memory_info().rss
    except psutil.Error:
        return None
    return Held(resident, resident)


def _in_flight(pids: list[int]) -> dict[int, int]:
    """Bytes of the batches that workers hold ready, and nobody has mapped.

    torch hands tensors over as open files of shared memory: until the rank takes them they are
    in no process's memory, but the job is charged for them.
    """
    own = _shared_files(os.getpid())
    theirs = {pid: _shared_files(pid) for pid in pids}
    holders = Counter(file for files in theirs.values() for file in files)
    return {
        pid: sum(size // holders[file] for file, size in files.items() if file not in own)
        for pid, files in theirs.items()
    }


def _shared_files(pid: int) -> dict[int, int]:
    """Open files of shared memory that have no name any more: inode -> bytes."""
    found: dict[int, int] = {}
    folder = f"{PROC}/{pid}/fd"
    with contextlib.suppress(OSError):  # it has ended
        for name in os.listdir(folder):  # noqa: PTH208 - called often
            with contextlib.suppress(OSError):  # closed in the meantime
                path = f"{folder}/{name}"
                target = os.readlink(path)  # noqa: PTH115
                if target.startswith("/dev/shm/") and target.endswith(" (deleted)"):
                    stat = os.stat(path)  # noqa: PTH116
                    found[stat.st_ino] = stat.st_blocks * 512
    return found
