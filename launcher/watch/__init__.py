"""Signs of life of each rank, and what happens when they stop.

`start` is called before anything heavy, `mark` by whoever makes progress, `stop` at the end.
What is watched and why: docs/explanation/watch.md.
"""

from __future__ import annotations

from collections import deque
from time import monotonic

from launcher.context import RunContext
from launcher.watch.pace import RECENT, Mark
from launcher.watch.watcher import Watcher

__all__ = ["give_way", "mark", "start", "stop"]

_marks: deque[Mark] = deque(maxlen=RECENT)
_watcher: Watcher | None = None


def start(context: RunContext) -> None:
    """Write this rank's first heartbeat and watch it from a thread until `stop`.

    Ends the process if it is plain already that the ranks cannot meet.
    """
    global _watcher
    stop()
    _marks.clear()
    mark("starting")
    _watcher = Watcher(context, _marks)
    _watcher.begin()


def mark(phase: str, step: int | None = None) -> None:
    """Note that this rank made progress: it entered a phase, or finished a step of it.

    Called at each step of a training, hence no more than one append.
    """
    _marks.append((phase, step, monotonic()))


def give_way() -> None:
    """Called before an exception of the task is recorded: an alarm explains it, and goes first.

    When ranks end themselves, those that leave last see connections break. That is no cause.
    """
    if _watcher is not None:
        _watcher.give_way()


def stop() -> None:
    """The task has ended; nothing is watched any more."""
    global _watcher
    if _watcher is not None:
        _watcher.finish()
        _watcher = None
