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

    return [Progress(running.run_dir)]
