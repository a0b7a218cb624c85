"""What Lightning adds to each Trainer of a run of ours, in any project, and to no other."""

from __future__ import annotations

from typing import Any


def callbacks() -> list[Any]:
    """Callbacks for the run that this process belongs to; none outside of runs."""
    from launcher import context

    running = context.running()
    if running is None:
        return []
    from launcher.callbacks.progress import Progress

    found: list[Any] = [Progress(running.run_dir)]
    if running.recovery is not None:
        from launcher.callbacks.safe_points import SafePoints

        found.append(SafePoints(running, running.recovery))
    return found
