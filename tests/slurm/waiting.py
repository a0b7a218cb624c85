"""Waits for a condition, for no longer than said."""

import time
from collections.abc import Callable

from .errors import LabError

_INTERVAL_S = 0.03


def wait_until(
    is_reached: Callable[[], object],
    what: str,
    timeout_s: float,
    *,
    interval_s: float = _INTERVAL_S,
) -> None:
    """Return as soon as the condition holds.

    Raises:
        LabError: It did not within the time.
    """
    deadline = time.monotonic() + timeout_s
    while not is_reached():
        if time.monotonic() > deadline:
            raise LabError(f"waited {timeout_s:g} s in vain: {what}")
        time.sleep(interval_s)
