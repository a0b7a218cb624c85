"""Errors of recorded data: a file is missing, torn or says something impossible."""

from __future__ import annotations

from collections.abc import Sequence

from launcher.errors import LauncherError

_LISTED = 20
"""Names that a message gives before it counts the rest."""


class DataError(LauncherError):
    """Recorded data cannot be used; the message names the file, the log or the token."""


def listed(names: Sequence[str], most: int = _LISTED) -> str:
    """Return `names` with commas for a message; from the `most`-th on they are counted."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
