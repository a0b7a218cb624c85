"""Faults that have to come from inside of the training."""

import ctypes
import os
import time
from pathlib import Path

from trainee import journal

_PAGE = 4096
_hoard = []


def _is_due(fault, kind, run_dir):
    """Whether this process does it now; if only once, then in the first life alone."""
    if fault.kind != kind or fault.rank != journal.rank():
        return False
    if not fault.is_once:
        return True
    try:
        os.close(os.open(Path(run_dir, f"{kind}.done"), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def before_rendezvous(fault, run_dir):
    if _is_due(fault, "hang_before", run_dir):
        while True:
            time.sleep(1)


def at_step(fault, run_dir, step):
    if step == fault.step and _is_due(fault, "hang_after", run_dir):
        lock_up()
    if step >= fault.step and not _hoard and _is_due(fault, "memory_rank", run_dir):
        _hoard.append(take(fault.mb))


def in_validation_worker(fault, run_dir):
    if not _hoard and _is_due(fault, "memory_worker", run_dir):
        _hoard.append(take(fault.mb))


def lock_up():
    """Wait for a lock of C that this thread holds already; no handler of Python runs any more."""
    libc = ctypes.CDLL(None)
    mutex = ctypes.create_string_buffer(64)
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_lock(mutex)


def take(mb):
    """Memory that is really used: each page is written."""
    block = bytearray(int(mb) << 20)
    for start in range(0, len(block), _PAGE):
        block[start] = 1
    return block
