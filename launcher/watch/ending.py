"""End this process from a thread, leaving its record, its stacks and a message behind."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import NoReturn

from launcher import beats, files, stopping, store
from launcher import context as run_context
from launcher.beats import Alarm
from launcher.context import RunContext
from launcher.memory import peak_memory_gb
from launcher.records import AttemptRecord
from launcher.stopping import EXIT_KILLED

log = logging.getLogger("launcher.watch")

AT_LATEST_S = 60.0
"""A disk that does not answer must not keep a rank from ending [s]."""
SAY_WITHIN_S = 5.0
"""The main thread may hold the lock of a log for ever [s]."""


def at_latest() -> None:
    """End this process soon, whatever comes between."""
    timer = threading.Timer(AT_LATEST_S, os._exit, (EXIT_KILLED,))
    timer.daemon = True
    timer.start()


def leave() -> NoReturn:
    """End this process."""
    os._exit(EXIT_KILLED)


def keep(context: RunContext, alarm: Alarm, job_id: str) -> None:
    """Write the record of this rank, unless the task's own end stands there already.

    Raises:
        StoreError: the disk refuses.
    """
    path = store.attempt_path(context.run_dir, context.attempt, context.rank)
    record = store.find_record(path, AttemptRecord) or context.record(job_id)
    if record.ended is not None:
        return
    request = stopping.requested()
    ended = {
        "ended": files.now(),
        "outcome": alarm.outcome,
        "error": alarm.error,
        "missing": alarm.missing,
        "mem_peak_gb": peak_memory_gb(),
        "stop_signal": request.signal if request else None,
    }
    record = record.model_copy(update={**run_context.notes(), **ended})
    store.write_record(path, record)


def say(text: str) -> None:
    """Write to the log, which is stderr while the task has set up none."""
    _within(SAY_WITHIN_S, _say, text)


def _say(text: str) -> None:
    log.error("%s", text)
    # What the task printed would be lost with this process.
    sys.stdout.flush()
    sys.stderr.flush()


def _within(limit_s: float, action: Callable[[str], None], text: str) -> None:
    thread = threading.Thread(target=action, args=(text,), daemon=True)
    thread.start()
    thread.join(limit_s)


def await_stacks(context: RunContext, ranks: set[int], limit_s: float) -> None:
    """Give other ranks time for their stacks: the first that ends takes all with it."""
    paths = [beats.stacks_path(context.run_dir, context.attempt, rank) for rank in ranks]
    until = time.monotonic() + limit_s
    while time.monotonic() < until and not all(map(_has_content, paths)):
        time.sleep(0.1)


def _has_content(path: os.PathLike[str]) -> bool:
    try:
        return os.stat(path).st_size > 0  # noqa: PTH116 - the path may be of any kind
    except OSError:
        return False


def do_all(*actions: Callable[[], None]) -> None:
    """Do what can be done: what keeps one of them from happening must not keep the rest."""
    for action in actions:
        try:
            action()
        except Exception as error:  # this process ends in any case, with or without its record
            say(f"{type(error).__name__}: {error}")
