"""One submitting command at a time per folder, also across login nodes and on NFS.

Two layers, because neither is enough alone (docs/decisions/0007):

`.lock`   an flock. The kernel frees it when its holder dies, and sbatch inherits it, so after
          a `kill -9` the next command waits for an sbatch that is still under way.
`.lease`  a file that only one process can link into place, touched while it is held. It keeps
          out other hosts where flock is host-local or missing; a silent one is broken.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from launcher.files import make_private, storing

TOUCH_S = 5.0
SILENT_S = 60.0
"""A lease of another host that nobody touched for so long belongs to a process that is gone."""
_POLL_S = 0.1
_NO_FLOCK = {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}


@dataclass(kw_only=True)
class FolderLock:
    """The right to submit what lives in a folder."""

    folder: Path
    _descriptor: int | None = None
    _token: str = field(default_factory=lambda: os.urandom(8).hex())
    _released: threading.Event = field(default_factory=threading.Event)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What a child inherits that must be counted as part of the holder."""
        return () if self._descriptor is None else (self._descriptor,)

    def acquire(self, waiting: Callable[[str], None], poll_s: float = _POLL_S) -> None:
        """Wait until nobody else holds it; `waiting` is told once who does."""
        make_private(self.folder)
        told = False
        while not self._try():
            if not told:
                told = True
                waiting(self._holder())
            time.sleep(poll_s)
        threading.Thread(target=self._touch, daemon=True).start()

    def release(self) -> None:
        """Let the next one in."""
        self._released.set()
        if _read(self._lease).get("token") == self._token:
            self._lease.unlink(missing_ok=True)
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    @property
    def _lease(self) -> Path:
        return self.folder / ".lease"

    def _try(self) -> bool:
        if not self._try_flock():
            return False
        if self._try_lease():
            return True
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        return False

    def _try_flock(self) -> bool:
        with storing(self.folder / ".lock"):
            descriptor = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError as error:
            os.close(descriptor)
            if error.errno in _NO_FLOCK:
                return True  # the lease alone decides on this file system
            raise
        if not self._is_in_place(descriptor):
            os.close(descriptor)  # a refused command took its folder away with this file
            return False
        self._descriptor = descriptor
        return True

    def _is_in_place(self, descriptor: int) -> bool:
        try:
            placed = (self.folder / ".lock").stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(os.fstat(descriptor), placed)

    def _try_lease(self) -> bool:
        mine = self.folder / f".lease.{self._token}"
        with storing(mine):
            mine.write_text(json.dumps(self._identity()))
        try:
            return self._link(mine) or (self._break_if_silent(mine) and self._link(mine))
        finally:
            mine.unlink(missing_ok=True)

    def _link(self, mine: Path) -> bool:
        try:
            os.link(mine, self._lease)
        except FileExistsError:
            return False
        return True

    def _identity(self) -> dict[str, Any]:
        pid = os.getpid()
        return {
            "token": self._token,
            "host": socket.gethostname(),
            "pid": pid,
            "started": psutil.Process(pid).create_time(),
        }

    def _break_if_silent(self, mine: Path) -> bool:
        """Take a dead holder's lease away; renamed first, so that only one process does."""
        try:
            # Both times are the file server's, so clocks that differ do not matter.
            age_s = mine.stat().st_mtime - self._lease.stat().st_mtime
        except FileNotFoundError:
            return True  # given back meanwhile
        holder = _read(self._lease)
        if _is_alive(holder, has_flock=self._descriptor is not None, age_s=age_s):
            return False
        broken = self.folder / f".lease.{self._token}.broken"
        try:
            self._lease.rename(broken)
        except FileNotFoundError:
            return False
        if _read(broken).get("token") != holder.get("token"):
            # Somebody else broke it and took it in between: give it back, unless a third one
            # was faster still. Then two believe to hold it, and the tokens of submissions decide.
            with suppress(FileExistsError):
                os.link(broken, self._lease)
        broken.unlink()
        return True

    def _holder(self) -> str:
        holder = _read(self._lease)
        if not holder:
            return "another command"
        return f"process {holder.get('pid', '?')} on {holder.get('host', 'another host')}"

    def _touch(self) -> None:
        while not self._released.wait(TOUCH_S):
            try:
                os.utime(self._lease)
            except FileNotFoundError:
                return


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _is_alive(holder: dict[str, Any], *, has_flock: bool, age_s: float) -> bool:
    if holder.get("host") != socket.gethostname():
        return age_s < SILENT_S
    if has_flock:
        return False  # a living holder of this host would have kept its flock
    try:
        started = psutil.Process(int(holder["pid"])).create_time()
    except (psutil.Error, KeyError, ValueError):
        return False
    return bool(abs(started - float(holder.get("started", 0.0))) < 1.0)


@contextmanager
def locked(folders: Sequence[Path], waiting: Callable[[str], None]) -> Iterator[tuple[int, ...]]:
    """Hold the locks of all `folders`; yields the descriptors that sbatch must inherit.

    They are taken in the order of their names, so two commands never wait for each other.
    """
    with ExitStack() as stack:
        descriptors: list[int] = []
        for folder in sorted({path.absolute() for path in folders}):
            lock = FolderLock(folder=folder)
            lock.acquire(waiting)
            stack.callback(lock.release)
            descriptors += lock.descriptors
        yield tuple(descriptors)
