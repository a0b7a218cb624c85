"""How much of a disk's space and of its quota of files a folder uses."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Usage:
    """What a folder and everything below it occupies."""

    bytes: int
    """Allocated on disk; a file with several names counts once."""
    inodes: int


def of(folder: Path) -> Usage:
    """Walk a folder without following links; files that vanish on the way do not count."""
    total, seen = 0, set()
    pending = [str(folder)]
    while pending:
        try:
            entries = list(os.scandir(pending.pop()))
        except FileNotFoundError:
            continue
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if status.st_ino in seen:
                continue
            seen.add(status.st_ino)
            total += status.st_blocks * 512
            if entry.is_dir(follow_symlinks=False):
                pending.append(entry.path)
    return Usage(total, len(seen) + 1)
