"""Runs a command inside a lab's namespaces, as a child that can be signalled like any other.

The process stays outside and forwards signals and the exit status, since `nsenter` forwards
neither. It runs in a bare interpreter, so it imports nothing but the standard library.
"""

import contextlib
import json
import os
import resource
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

from . import namespaces
from .layout import REPOSITORY

KILL_ALL = signal.SIGALRM
"""Sent to the outer process: kill the command's whole process group."""

_FORWARDED = {
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGCONT,
}
# A terminal sends these to the command itself.
_FROM_TERMINAL = {signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTOU}
_KINDS = namespaces.MOUNTS | namespaces.PIDS | namespaces.CGROUPS
_NOT_FOUND = 127


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """Where to enter, as whom, to do what."""

    pid: int
    namespace: int
    """The inode of its PID namespace, because the number of a dead process is used again."""

    user_id: int
    directory: str
    command: Sequence[str]


def entering_command(entry: Entry) -> list[str]:
    """Return the command line that does it; the environment is handed on as it is."""
    return [*bare_interpreter(f"from {__name__} import main; main()"), json.dumps(asdict(entry))]


def bare_interpreter(statements: str) -> list[str]:
    """Return a command for code of this package, deaf to the environment and quick to start."""
    find_package = f"import sys; sys.path.insert(0, {str(REPOSITORY)!r})"
    return [sys.executable, "-I", "-S", "-c", f"{find_package}; {statements}"]


def main() -> NoReturn:
    """Enter, run the command, end as it ends."""
    entry = Entry(**json.loads(sys.argv[1]))
    _join_namespaces(entry)
    has_terminal = os.isatty(0)
    # Signals wait until it is clear whom they are for.
    signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED | {KILL_ALL})
    child = os.fork()
    if child == 0:
        _become(entry, has_terminal=has_terminal)
    _forward_signals(child, has_terminal=has_terminal)
    _end_like(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def _join_namespaces(entry: Entry) -> None:
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        handle = os.pidfd_open(entry.pid)
        if Path(f"/proc/{entry.pid}/ns/pid").stat().st_ino == entry.namespace:
            namespaces.join(handle, _KINDS)
            return
    sys.exit("the lab is not up any more")


def _become(entry: Entry, *, has_terminal: bool) -> NoReturn:
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    if not has_terminal:
        os.setpgid(0, 0)
    os.setgroups([])
    os.setgid(entry.user_id)
    os.setuid(entry.user_id)
    namespaces.die_with_parent(signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED | {KILL_ALL})
    try:
        os.chdir(entry.directory)
        os.execvp(entry.command[0], list(entry.command))
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        os._exit(_NOT_FOUND)


def _forward_signals(child: int, *, has_terminal: bool) -> None:
    def forward(number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    def kill_all(_number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child if has_terminal else -child, signal.SIGKILL)

    for number in _FORWARDED:
        signal.signal(number, forward)
    if has_terminal:
        for number in _FROM_TERMINAL:
            signal.signal(number, signal.SIG_IGN)
    signal.signal(KILL_ALL, kill_all)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED | {KILL_ALL})


def _end_like(code: int) -> NoReturn:
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with contextlib.suppress(OSError):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code if code >= 0 else 128 - code)
