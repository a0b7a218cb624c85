"""The lab's own subtree of cgroups, which all of its processes live in.

Inside the lab the subtree looks like the root, so that two labs with equal node names do not
meet, and outside of it nothing but one folder per hierarchy has to be removed at the end.
"""

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from . import controllers, namespaces
from .controllers import PROCESSES, move_to, processes_in

_UNIFIED_ROOT = Path("/sys/fs/cgroup")
_NEEDED = {"memory", "freezer", "cpuset", "cpuacct", "devices"}
_REMOVAL_TIMEOUT_S = 8.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Hierarchy:
    """One mounted tree of cgroups: each controller's own in version 1, a common one in 2."""

    mount_point: Path
    root: Path
    """Where its top is reached: the mount point, or an open file once that is covered."""

    version: int
    controllers: frozenset[str]

    def pin(self) -> Self:
        """Keep the top within reach after something else was mounted on the mount point."""
        handle = os.open(self.mount_point, os.O_PATH)
        return type(self)(
            mount_point=self.mount_point,
            root=Path(f"/proc/self/fd/{handle}"),
            version=self.version,
            controllers=self.controllers,
        )


def find_hierarchies(mountinfo: str | None = None) -> list[Hierarchy]:
    """Read from the mount table what the machine has; empty if SLURM could not use it."""
    table = Path("/proc/self/mountinfo").read_text() if mountinfo is None else mountinfo
    found = [hierarchy for line in table.splitlines() if (hierarchy := _parse(line))]
    unified = [h for h in found if h.version == 2 and h.mount_point == _UNIFIED_ROOT]
    if unified:
        return unified[-1:]
    legacy = {h.mount_point: h for h in found if h.version == 1 and h.controllers}
    present = {name for h in legacy.values() for name in h.controllers}
    return list(legacy.values()) if present >= _NEEDED else []


def create(hierarchies: list[Hierarchy], name: str) -> None:
    """Make the lab's folder in each hierarchy."""
    for hierarchy in hierarchies:
        if hierarchy.version == 2:
            controllers.hand_down_from_top(hierarchy.root)
        folder = hierarchy.root / name
        folder.mkdir(exist_ok=True)
        if "cpuset" in hierarchy.controllers:
            # A fresh cpuset is empty and takes no process.
            for key in ("cpuset.cpus", "cpuset.mems"):
                (folder / key).write_text((hierarchy.root / key).read_text())


def move_in(hierarchies: list[Hierarchy], name: str) -> None:
    """Put this process and its future children into the lab's folders, as if they were the top."""
    for hierarchy in hierarchies:
        move_to(hierarchy.root / name)
    namespaces.unshare(namespaces.CGROUPS)
    for hierarchy in hierarchies:
        namespaces.bind(hierarchy.root / name, hierarchy.mount_point)
        if hierarchy.version == 2:
            _prepare_for_slurmd(hierarchy.mount_point)


def move_into_service(hierarchies: list[Hierarchy], name: str) -> None:
    """Give a daemon its own folder, as systemd would; cgroup/v2 makes slurmd rely on it."""
    for hierarchy in hierarchies:
        if hierarchy.version == 2:
            folder = hierarchy.mount_point / name
            folder.mkdir(exist_ok=True)
            move_to(folder)


def move_out(hierarchies: list[Hierarchy]) -> None:
    """Take this process back to the top, so that it can remove the lab's folders."""
    for hierarchy in hierarchies:
        controllers.leave_to(hierarchy.root)


def remove(
    hierarchies: list[Hierarchy], name: str, timeout_s: float = _REMOVAL_TIMEOUT_S
) -> list[Path]:
    """Kill what is left in the lab's folders and remove them; return those that would not go."""
    tops = [hierarchy.root / name for hierarchy in hierarchies]
    deadline = time.monotonic() + timeout_s
    while (left := [top for top in tops if not _remove_tree(top)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def handed_down(hierarchies: list[Hierarchy]) -> set[str]:
    """Remember what `create` will change at the top of version 2."""
    tops = (hierarchy.root for hierarchy in hierarchies if hierarchy.version == 2)
    return {name for top in tops for name in controllers.handed_down(top)}


def take_back(hierarchies: list[Hierarchy], keep: set[str]) -> None:
    """Undo it."""
    for hierarchy in hierarchies:
        if hierarchy.version == 2:
            controllers.take_back(hierarchy.root, keep)


def processes_of_node(hierarchies: list[Hierarchy], name: str, node: str) -> set[int]:
    """Find the processes of all jobs on one node, stepds included."""
    patterns = (f"slurm_{node}", f"system.slice/{node}_slurmstepd.scope")
    folders = (h.root / name / pattern for h in hierarchies for pattern in patterns)
    return {pid for top in folders for folder in _folders(top) for pid in processes_in(folder)}


def _parse(line: str) -> Hierarchy | None:
    before, _, after = line.partition(" - ")
    kind, _, options = after.split(" ", 2)
    if kind not in {"cgroup", "cgroup2"}:
        return None
    mount_point = Path(before.split(" ")[4])
    named = any(option.startswith("name=") for option in options.split(","))
    names = set() if named else set(options.split(",")) - {"rw", "xattr", "clone_children"}
    return Hierarchy(
        mount_point=mount_point,
        root=mount_point,
        version=2 if kind == "cgroup2" else 1,
        controllers=frozenset(names if kind == "cgroup" else ()),
    )


def _prepare_for_slurmd(top: Path) -> None:
    # A folder that hands controllers down may hold no process itself, except for the real root.
    daemons = top / "daemons"
    daemons.mkdir(exist_ok=True)
    move_to(daemons)
    controllers.hand_down(top)
    (top / "system.slice").mkdir(exist_ok=True)
    controllers.hand_down(top / "system.slice")
    # A stepd that has finished moves itself to the top, which only the real one would take.
    namespaces.bind(daemons / PROCESSES, top / PROCESSES)


def _remove_tree(top: Path) -> bool:
    for folder in _folders(top):
        for pid in processes_in(folder) - {0, os.getpid()}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            folder.rmdir()
    return not top.exists()


def _folders(top: Path) -> list[Path]:
    # Deepest first; cgroups vanish while they are walked through.
    return [Path(path) for path, _, _ in os.walk(top, topdown=False)]
