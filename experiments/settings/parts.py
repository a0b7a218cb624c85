"""Shares of work that is spread over jobs, written `k/n`."""

from __future__ import annotations

import re

from launcher.errors import ConfigError

_PART = re.compile(r"(\d+)/(\d+)")


def numbered(group: str, part: str) -> tuple[int, int]:
    """Return which share `part` names, from 0, and of how many.

    Args:
        group: Config group that holds it, for the message.
        part: `k/n`.

    Raises:
        ConfigError: it names none.
    """
    match = _PART.fullmatch(part)
    number, count = (int(digits) for digits in match.groups()) if match else (0, 0)
    if number >= count:
        raise ConfigError(
            f"`{group}.part={part}` names no share of the store",
            hint=f"write k/n with k from 0 to n - 1, or set {group}.num_jobs=n alone",
        )
    return number, count


def listed(group: str, num_jobs: int) -> str:
    """Return the override that sweeps over the shares of so many jobs."""
    parts = ",".join(f"{number}/{num_jobs}" for number in range(num_jobs))
    return f"{group}.part={parts}"
