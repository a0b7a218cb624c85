"""The few Linux calls that Python 3.11 lacks: namespaces, mounts, parent death signal.

Everything here needs root. `os.unshare` and `os.setns` exist from Python 3.12 on.
"""

import ctypes
import os
import signal
from pathlib import Path

MOUNTS = 0x0002_0000
CGROUPS = 0x0200_0000
HOSTNAME = 0x0400_0000
PIDS = 0x2000_0000

_BIND = 0x1000
_RECURSIVE = 0x4000
_PRIVATE = 0x4_0000
_SET_PARENT_DEATH_SIGNAL = 1

_libc = ctypes.CDLL(None, use_errno=True)


def unshare(kinds: int) -> None:
    """Leave the shared namespaces of the given kinds; for PIDS it counts from the next child on."""
    _check(_libc.unshare(ctypes.c_int(kinds)), "unshare")


def join(pidfd: int, kinds: int) -> None:
    """Join the namespaces of another process (for PIDS, again, the next child does)."""
    _check(_libc.setns(ctypes.c_int(pidfd), ctypes.c_int(kinds)), "setns")


def detach_mounts() -> None:
    """Stop mounts from spreading to the host, whatever its propagation is."""
    _mount("none", Path("/"), "", _RECURSIVE | _PRIVATE, "")


def bind(source: Path, target: Path) -> None:
    """Show `source` (with all that is mounted below it) at `target`."""
    _mount(str(source), target, "", _BIND | _RECURSIVE, "")


def mount_filesystem(kind: str, target: Path, options: str = "") -> None:
    """Mount a file system that has no device, such as proc or tmpfs."""
    _mount(kind, target, kind, 0, options)


def die_with_parent(number: signal.Signals) -> None:
    """Receive a signal as soon as the parent ends; a later change of the user revokes it."""
    _check(_libc.prctl(_SET_PARENT_DEATH_SIGNAL, ctypes.c_ulong(number), 0, 0, 0), "prctl")


def _mount(source: str, target: Path, kind: str, flags: int, options: str) -> None:
    result = _libc.mount(
        source.encode(),
        os.fsencode(target),
        kind.encode() or None,
        ctypes.c_ulong(flags),
        options.encode() or None,
    )
    _check(result, f"mount {source} on {target}")


def _check(result: int, what: str) -> None:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
