"""Errors that are the user's to mend: one message, no traceback, exit code 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LauncherError(Exception):
    """What is wrong with which value and where, and a hint what to do about it."""

    exit_code = 2

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\nhint: {self.hint}"


class ConfigError(LauncherError):
    """A value of the config is wrong."""


class SubmissionError(LauncherError):
    """The scheduler refused, or cannot be reached, or a preflight check failed."""


class StoreError(LauncherError):
    """A study or run folder cannot be read or written."""


class RunsFailedError(LauncherError):
    """Some runs of a study failed; the message says which and where their logs are."""

    exit_code = 1


def nearest(value: str, legal: Iterable[str]) -> str | None:
    """The legal word that looks most like `value`, if any looks like it at all."""
    matches = difflib.get_close_matches(value, list(legal), n=1, cutoff=0.5)
    return matches[0] if matches else None


def at_least(key: str, value: float, lowest: float) -> None:
    """Raise ConfigError unless `value` of `key` is `lowest` or more (and a number at all)."""
    if not value >= lowest:
        raise ConfigError(f"`{key}={value}` is below {lowest:g}")


def one_of(key: str, value: str, legal: tuple[str, ...]) -> None:
    """Raise ConfigError unless `value` is one of the `legal` words for `key`."""
    if value in legal:
        return
    match = nearest(value, legal)
    raise ConfigError(
        f"`{key}={value}` is not known; legal: {', '.join(legal)}",
        hint=f"did you mean {key}={match}?" if match else None,
    )
