"""How long this process has lived."""

from __future__ import annotations

import os
import time
from pathlib import Path

_STAT = Path("/proc/self/stat")
_START = 19
"""Place of the start time behind the name of the process, proc(5)."""


def age_s(began_s: float) -> float:
    """Time since this process started [s]; where no kernel tells, since `began_s` (epoch)."""
    try:
        fields = _STAT.read_text().rpartition(")")[2].split()
        started_s = int(fields[_START]) / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - started_s
    except (OSError, AttributeError, LookupError, ValueError):
        return time.time() - began_s
