"""What the cgroup of a job holds on this node, versions 1 and 2.

File pages are given back when memory is needed, so a job is killed for what is left without
them. On a machine that reads much data they fill the cgroup to its limit and mean nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from launcher.memory import job_cgroups

GB = 2**30
_RECLAIMABLE = {
    # The `total_` lines of version 1 are those with all cgroups below.
    True: ("total_inactive_file", "total_active_file"),
    False: ("inactive_file", "active_file", "slab_reclaimable"),
}
_USAGE = {True: "memory.usage_in_bytes", False: "memory.current"}
_LIMIT = {True: "memory.limit_in_bytes", False: "memory.max"}
_UNLIMITED = 2**60
"""Version 1 writes a huge number where nothing is limited."""


@dataclass(frozen=True)
class Held:
    """What a cgroup holds [GB of 2**30 bytes]."""

    kept_gb: float
    """Without what the kernel can take back."""
    with_cache_gb: float


@dataclass(frozen=True)
class JobCgroup:
    """The memory cgroup of this job on this node, above its steps."""

    folder: Path
    is_legacy: bool
    """Whether it is of version 1."""

    @classmethod
    def find(cls, cgroups: Callable[[], list[tuple[Path, bool]]] = job_cgroups) -> JobCgroup | None:
        """The cgroup that this process is in, or None where no job has one here."""
        for folder, is_legacy in cgroups():
            found = cls(folder, is_legacy)
            if found.look() is not None:
                return found
        return None

    def look(self) -> Held | None:
        """What it holds now; None where the kernel does not say."""
        usage_file = self.folder / _USAGE[self.is_legacy]
        try:
            usage = int(usage_file.read_bytes())
            stat = (self.folder / "memory.stat").read_text()
            usage_after = int(usage_file.read_bytes())
        except (OSError, ValueError):
            return None
        lines = dict(line.split(" ", 1) for line in stat.splitlines() if " " in line)
        files = sum(int(lines.get(name, 0)) for name in _RECLAIMABLE[self.is_legacy])
        # Not read in the same instant: cache that went or came meanwhile is not kept memory.
        return Held(max(min(usage, usage_after) - files, 0) / GB, usage / GB)

    def limit_gb(self) -> float | None:
        """What it may hold [GB]; None where nothing limits it."""
        try:
            limit = int((self.folder / _LIMIT[self.is_legacy]).read_bytes())
        except (OSError, ValueError):  # "max" is no number
            return None
        return limit / GB if limit < _UNLIMITED else None
