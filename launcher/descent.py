"""The processes below this one: all of them are found, and none outlives it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Callable, Collection
from pathlib import Path

import psutil

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_GONE_WITHIN_S = 10.0
_libc = ctypes.CDLL(None, use_errno=True)


def adopt_orphans() -> None:
    """What loses its parent below this process becomes its child, whatever it does to hide."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_parent(parent: int) -> None:
    """Called in a forked process: the kernel kills it when process `parent` ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended in between
        os._exit(1)


def below(but: Collection[int] = ()) -> list[psutil.Process]:
    """All processes below this one, without those of `but`."""
    return [p for p in psutil.Process().children(recursive=True) if p.pid not in but]


def reap() -> dict[int, int]:
    """Children that have ended, those adopted too: process -> exit code, -N for signal N."""
    ended: dict[int, int] = {}
    while True:
        try:
            process, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if process == 0:
            return ended
        ended[process] = os.waitstatus_to_exitcode(status)


def kill_below(but: Collection[int] = ()) -> dict[int, int]:
    """Kill everything below, again and again until nothing is left; returns what was reaped.

    A process that hangs in the kernel is waited for, within bounds, and then left behind.
    """
    ended: dict[int, int] = {}
    until = time.monotonic() + _GONE_WITHIN_S
    while (left := below(but)) and time.monotonic() < until:
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        ended.update(reap())
        time.sleep(0.02)
    return ended | reap()


def leave_no_heirs(variable: str, clean_up: Callable[[], None]) -> int:
    """Fork a process that waits for this one to end, and kills what it left; returns its id.

    The kernel ends direct children (`die_with_parent`), and not their workers.

    Args:
        variable: Environment variable that holds the id of this process in all that it starts.
        clean_up: Called after the last of them is gone.
    """
    own, (reads, writes) = os.getpid(), os.pipe()
    guard = os.fork()
    if guard:
        os.close(reads)  # `writes` closes when this process ends, however it does
        return guard
    try:
        os.close(writes)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        os.read(reads, 1)
        _kill_marked(f"{variable}={own}".encode())
        clean_up()
    finally:
        os._exit(0)


def _kill_marked(mark: bytes) -> None:
    until = time.monotonic() + _GONE_WITHIN_S
    while (left := _marked(mark)) and time.monotonic() < until:
        for process in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.05)


def _marked(mark: bytes) -> list[int]:
    """Processes that were started with that variable; those of other users cannot be read."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            # A dead process that nobody has waited for has an empty environment.
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found
