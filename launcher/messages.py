"""Errors on the terminal without rich, so that a refused command answers at once."""

from __future__ import annotations

import io
import sys

from launcher.errors import LauncherError


def print_anything() -> None:
    """Replace what the terminal's encoding has no letter for, rather than fail on it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")


def show(error: LauncherError) -> int:
    """Print one message to stderr; returns the exit code."""
    sys.stderr.write(f"error: {error.message}\n")
    if error.hint:
        sys.stderr.write(f"hint: {error.hint}\n")
    return error.exit_code
