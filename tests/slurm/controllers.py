"""Hands the controllers of cgroup v2 down to the lab's folder, and takes them back at the end.

A folder that hands controllers down may hold no process itself. Only the machine's true top is
excepted; the top that a container sees is not, so its processes are put aside for that time.
"""

import contextlib
import errno
from pathlib import Path

PROCESSES = "cgroup.procs"
LAB_PREFIX = "launcher-lab-"

_HANDED_DOWN = "cgroup.subtree_control"
_WANTED = ("memory", "cpu", "cpuset", "pids")
_SHELTER = f"{LAB_PREFIX}shelter"


def hand_down(folder: Path) -> None:
    """Let the children of a folder use the controllers that it has."""
    available = (folder / "cgroup.controllers").read_text().split()
    wanted = " ".join(f"+{name}" for name in _WANTED if name in available)
    (folder / _HANDED_DOWN).write_text(wanted)


def hand_down_from_top(top: Path) -> None:
    """Do the same for the top, with its processes put aside if need be."""
    try:
        hand_down(top)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        (top / _SHELTER).mkdir(exist_ok=True)
        _move_all(top, top / _SHELTER)
        hand_down(top)


def handed_down(top: Path) -> set[str]:
    """Tell which controllers a folder hands down."""
    return set((top / _HANDED_DOWN).read_text().split())


def take_back(top: Path, keep: set[str]) -> None:
    """Make the top as it was, unless another lab depends on it by now."""
    shelter = top / _SHELTER
    if shelter.exists():
        if any(folder != shelter for folder in top.glob(f"{LAB_PREFIX}*")):
            return
        keep = set()
    for name in handed_down(top) - keep:
        with contextlib.suppress(OSError):
            (top / _HANDED_DOWN).write_text(f"-{name}")
    if shelter.exists():
        _move_all(shelter, top)
        # Within the lab's namespace not all of its processes are seen.
        with contextlib.suppress(OSError):
            shelter.rmdir()


def leave_to(top: Path) -> None:
    """Move this process to the top, or where the top's processes are for the time."""
    shelter = top / _SHELTER
    move_to(shelter if shelter.exists() else top)


def move_to(folder: Path, pid: int = 0) -> None:
    """Move a process, by default this one, into a folder."""
    (folder / PROCESSES).write_text(str(pid))


def processes_in(folder: Path) -> set[int]:
    """List the processes of a folder; those that this namespace does not show are 0."""
    try:
        return {int(line) for line in (folder / PROCESSES).read_text().split()}
    except OSError:
        return set()


def _move_all(source: Path, target: Path) -> None:
    # Those that are moved may have had children meanwhile; some may have ended.
    while pids := processes_in(source) - {0}:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                move_to(target, pid)
