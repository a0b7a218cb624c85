"""Wait for a study: a live table on a terminal, one line per change elsewhere."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

from launcher import ui
from launcher.scheduler.base import Scheduler
from launcher.states import FINAL, RunStatus
from launcher.studies import Study

HEARTBEAT_S = 60.0
"""Without a terminal, a line is printed at least this often."""
INTERRUPTED = 130
"""Exit code after ctrl-C, as shells have it."""
FEED_S = 30.0
"""Time between two tries to send what a submit limit left."""


def follow(
    study: Study,
    scheduler: Scheduler,
    poll_s: float,
    sleep: Callable[[float], None] = time.sleep,
    *,
    blocked: Collection[str] = (),
    only: Collection[str] | None = None,
    feed: Callable[[], None] | None = None,
) -> list[RunStatus]:
    """Poll until every run is in a final state; returns how they ended.

    Args:
        study: What to follow.
        scheduler: Who has its jobs.
        poll_s: Time between two looks [s].
        sleep: For tests.
        blocked: Keys of runs that will never start; they are not waited for.
        only: Keys of the runs that are waited for; None for all.
        feed: Called now and then while some runs are not sent yet.
    """
    started = fed = time.monotonic()
    lines = _Lines()
    with ui.live(ui.is_interactive()) as live:
        while True:
            statuses = study.status(scheduler)
            if live is None:
                lines.show(statuses, time.monotonic() - started)
            else:
                live.update(ui.status_table(list(enumerate(statuses)), ui.err), refresh=True)
            awaited = [
                status
                for status in statuses
                if status.key not in blocked and (only is None or status.key in only)
            ]
            if all(status.state in FINAL for status in awaited):
                return statuses
            is_held = any(status.state == "held" for status in awaited)
            if feed is not None and is_held and time.monotonic() - fed > FEED_S:
                fed = time.monotonic()
                feed()
            sleep(poll_s)


def follow_or_leave(
    study: Study, scheduler: Scheduler, poll_s: float, **options: Any
) -> list[RunStatus]:
    """Follow to the end, or until ctrl-C or SIGTERM: the scheduler says what becomes of the runs.

    Raises:
        SystemExit: it was interrupted.
    """
    try:
        with _sigterm_interrupts():
            return follow(study, scheduler, poll_s, **options)
    except KeyboardInterrupt:
        scheduler.interrupted(ui.say)
        raise SystemExit(INTERRUPTED) from None


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """Within the block, SIGTERM is ctrl-C: local runs must not outlive `timeout 60 python ...`."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers, and gets the signals
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Lines:
    """Plain lines for logs and pipes: each change of state once, and a sign of life."""

    def __init__(self) -> None:
        self._states: dict[str, str] = {}
        self._last = 0.0

    def show(self, statuses: list[RunStatus], elapsed_s: float) -> None:
        for status in statuses:
            if self._states.get(status.key) != status.state:
                self._states[status.key] = status.state
                self._last = elapsed_s
                ui.say(f"{elapsed_s:6.0f} s  {status.state:9s} {status.name}  {_detail(status)}")
        if elapsed_s - self._last >= HEARTBEAT_S:
            self._last = elapsed_s
            running = [status for status in statuses if status.state == "running"]
            steps = ", ".join(f"{s.name}: step {s.progress.get('step', '?')}" for s in running)
            ui.say(f"{elapsed_s:6.0f} s  {len(running)} running  {steps}")


def _detail(status: RunStatus) -> str:
    if status.state == "completed":
        return f"in {ui.elapsed(status)}"
    if status.state == "running":
        return f"job {status.job_id.rpartition('/')[2]}" if status.job_id else ""
    return status.reason
