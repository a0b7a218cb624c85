"""Errors of recorded data: a file is missing, torn or says something impossible."""

from __future__ import annotations

from launcher.errors import LauncherError


class DataError(LauncherError):
    """Recorded data cannot be used; the message names the file, the log or the token."""
