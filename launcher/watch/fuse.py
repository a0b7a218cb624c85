"""Ends this process, with its stacks on disk, even while its main thread keeps Python locked.

No Python thread runs while a call into C holds the global lock. faulthandler's timer does: it is
a thread of its own that needs no lock, and goes off unless it is armed anew.
"""

from __future__ import annotations

import faulthandler
import os
import threading
from pathlib import Path
from typing import IO

from launcher import files

_lock = threading.Lock()
_is_child = False


class Fuse:
    """The timer of faulthandler, of which a process has only one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self._is_removed = False

    def arm(self, timeout_s: float) -> None:
        """Go off after `timeout_s`, unless armed anew or disarmed before.

        Raises:
            StoreError: the file of the stacks cannot be made.
        """
        file = self._open()
        with _lock:
            if not self._is_removed:
                faulthandler.dump_traceback_later(timeout_s, exit=True, file=file)

    def disarm(self) -> None:
        """Do not go off."""
        if self._file is not None:
            with _lock:
                faulthandler.cancel_dump_traceback_later()

    def dump(self, title: str) -> None:
        """Write the stacks of all threads, now.

        Raises:
            StoreError: the file of the stacks cannot be made.
        """
        self.disarm()
        file = self._open()
        with files.storing(self._path):
            file.write(f"{title}\n".encode())
            file.flush()
            faulthandler.dump_traceback(file, all_threads=True)

    def remove(self) -> None:
        """The task ended: never go off again, and leave no empty file."""
        self._is_removed = True
        self.disarm()
        if self._file is None:
            return
        self._file.close()
        self._file = None
        try:
            if not self._path.stat().st_size:
                self._path.unlink()
                self._path.parent.rmdir()
        except OSError:
            return  # other ranks still have theirs, or the folder is gone

    def _open(self) -> IO[bytes]:
        if self._file is None:
            with files.storing(self._path):
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._path.open("ab")
        return self._file


def _before_fork() -> None:
    _lock.acquire()
    if not _is_child:
        # A forked child that ends as Python usually does would wait forever for the timer's
        # thread, which it does not have. The next look arms it again.
        faulthandler.cancel_dump_traceback_later()


def _after_fork_in_child() -> None:
    global _is_child
    _is_child = True
    _lock.release()


os.register_at_fork(
    before=_before_fork, after_in_parent=_lock.release, after_in_child=_after_fork_in_child
)
