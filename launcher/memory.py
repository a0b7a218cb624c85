"""Host memory of this job as the kernel counts it."""

from __future__ import annotations

import re
import resource
import sys
from collections.abc import Iterable
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def peak_memory_gb() -> float:
    """Most memory [GB] that this job held on this node so far.

    From the cgroup of the SLURM job where there is one, with page cache; else the largest
    resident set of this process and of its largest child.
    """
    peak = _cgroup_peak_bytes()
    if peak is None:
        unit = 1 if sys.platform == "darwin" else 1024
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        peak = (own + child) * unit
    return round(peak / 2**30, 3)


def oom_kills() -> int:
    """How many processes of this job the kernel killed on this node for lack of memory.

    0 where no cgroup says.
    """
    return counted_kills(_job_files("memory.events", "memory.oom_control"))


def counted_kills(files: Iterable[Path]) -> int:
    """The kernel's count in the first of some files of a cgroup that has one; 0 if none has."""
    for path in files:
        try:
            found = re.search(r"^oom_kill (\d+)", path.read_text(), re.MULTILINE)
        except OSError:
            continue
        if found:
            return int(found.group(1))
    return 0


def _cgroup_peak_bytes() -> int | None:
    for path in _job_files("memory.peak", "memory.max_usage_in_bytes"):
        try:
            return int(path.read_text())
        except (OSError, ValueError):
            continue
    return None


def _job_files(unified: str, legacy: str) -> list[Path]:
    """Files of the job's cgroup, above its steps, by their names in cgroup v2 and v1."""
    return [folder / (legacy if is_legacy else unified) for folder, is_legacy in job_cgroups()]


def job_cgroups() -> list[tuple[Path, bool]]:
    """Folders of the job's memory cgroup, above its steps, and whether each is of version 1."""
    try:
        lines = _MEMBERSHIP.read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        job = re.match(r".*?/job_\d+", path)
        if job is None:
            continue
        below = job.group().lstrip("/")
        if not controllers:
            found.append((CGROUPS / below, False))
        elif "memory" in controllers.split(","):
            found.append((CGROUPS / "memory" / below, True))
    return found
