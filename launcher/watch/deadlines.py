"""When a rank that was asked to stop is ended, and when time itself asks it to. Pure."""

from __future__ import annotations

LAST_MOMENT_S = 5.0
"""What is left of the time limit when even a checkpoint in writing is given up [s]."""
UNKNOWN_SAVING = 10.0
"""Where nobody says when the time limit comes, a checkpoint may take so many graces."""


def stop_deadline_s(
    received_s: float, phase: str, grace_s: float, ends_s: float | None
) -> float | None:
    """When a task that was asked to stop is ended; None while it is leaving already.

    Args:
        received_s: When it was asked.
        phase: What it is doing.
        grace_s: How long it may go on.
        ends_s: When the time limit comes, on the same clock.
    """
    if phase == "leaving":
        return None
    last_s = None if ends_s is None else ends_s - LAST_MOMENT_S
    if phase == "saving":
        until_s = received_s + UNKNOWN_SAVING * grace_s if last_s is None else last_s
        return max(until_s, received_s + grace_s)
    deadline_s = received_s + grace_s
    # Asked in the last moment it has its grace all the same: the limit is often not exact.
    return min(deadline_s, last_s) if last_s is not None and last_s > received_s else deadline_s


def time_request_s(started_s: float, ends_s: float, lead_s: float, usual_s: float | None) -> float:
    """When a task is asked to stop because its time runs out, even if no signal comes.

    Early enough for two steps, and never in the first half of the time limit.
    """
    lead_s = max(lead_s, 2 * (usual_s or 0.0) + 10.0)
    return ends_s - min(lead_s, (ends_s - started_s) / 2)
