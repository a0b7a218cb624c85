"""What Lightning adds to each Trainer of a run of ours, in any project, and to no other."""

from __future__ import annotations

from typing import Any


def callbacks() -> list[Any]:
    """Callbacks for the run that this process belongs to; none outside of runs."""
    from launcher import context

    running = context.running()
    if running is None:
        return []
    from launcher.callbacks.heap import SharedHeap
    from launcher.callbacks.pace import Pace
    from launcher.callbacks.progress import Progress
    from launcher.callbacks.rows import Rows
    from launcher.callbacks.shape import SameWorld
    from launcher.callbacks.streams import OneStream
    from launcher.callbacks.turns import ShortTurns

    found: list[Any] = [SameWorld(running), OneStream(), SharedHeap(), ShortTurns(), Pace(), Rows()]
    found.append(Progress(running.run_dir))
    if running.recovery is not None:
        from launcher.callbacks.safe_points import SafePoints

        found.append(SafePoints(running, running.recovery))
    from launcher.callbacks.usage import Usage

    found.append(Usage(running))
    if running.probe is not None:
        from launcher.callbacks.probe import Probe

        found.append(Probe(running.probe))
    return found
