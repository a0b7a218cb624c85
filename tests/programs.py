"""Starts programs as a person would, in a process of their own, and reads what they leave."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PLAIN_PROJECT = REPOSITORY / "tests" / "projects" / "plain"


def run(
    *arguments: str | Path,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    timeout_s: float = 120,
) -> subprocess.CompletedProcess[str]:
    """Run `python ARGUMENTS` to its end; never raises for its exit code."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def wait_for_file(folder: Path, pattern: str, timeout_s: float = 60) -> None:
    """Return when a file of that pattern is in a folder.

    Raises:
        TimeoutError: it did not come in time.
    """
    deadline = time.monotonic() + timeout_s
    while not any(folder.glob(pattern)):
        if time.monotonic() > deadline:
            raise TimeoutError(f"no `{pattern}` in {folder} after {timeout_s:g} s")
        time.sleep(0.05)


def train(*overrides: str, cwd: Path, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    """Run this repository's train.py from a folder of the test's own."""
    return run(REPOSITORY / "train.py", *overrides, cwd=cwd, timeout_s=timeout_s)
