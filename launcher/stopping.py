"""Whether this process was asked to stop. The one owner of signals: handlers only note them.

SLURM announces the time limit by the signal that was asked for (USR2), a preemption by SIGTERM
or by that same signal, and `scancel` by SIGTERM: why it is time to stop, a signal does not say.
"""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from types import FrameType

STOP_SIGNALS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGINT)
EXIT_STOPPED = 75
"""Exit code of a rank that stopped when it was asked to, with its work saved."""
EXIT_KILLED = 76
"""Exit code of a rank that ended itself because its task did not stop, hung or never joined."""


@dataclass(frozen=True)
class StopRequest:
    """The first signal that asked this process to stop."""

    signal: str
    """Name, e.g. `SIGUSR2`."""
    received_s: float
    """Monotonic time of its arrival [s]."""


class RunStopped(SystemExit):
    """Ends the task when it was asked to stop; no `except Exception` takes it for an error."""

    def __init__(self, step: int | None = None) -> None:
        super().__init__(EXIT_STOPPED)
        self.step = step
        """Optimizer step that was saved, where something was."""


class ProbeDone(SystemExit):
    """Ends the task of a probe that has seen what it was to measure, as if all had gone well."""

    def __init__(self) -> None:
        super().__init__(0)


_request: StopRequest | None = None


def install() -> None:
    """Take the stop signals; called again after a library has taken them."""
    for number in STOP_SIGNALS:
        signal.signal(number, _note)
    signal.signal(signal.SIGCONT, signal.SIG_DFL)


def requested() -> StopRequest | None:
    """The request to stop, or None."""
    return _request


def request(name: str) -> None:
    """Note a request to stop that came as no signal, e.g. because time is running out."""
    global _request
    if _request is None:
        _request = StopRequest(name, time.monotonic())


def clear() -> None:
    """Forget the request, e.g. between two runs in one process."""
    global _request
    _request = None


def _note(number: int, frame: FrameType | None) -> None:
    del frame
    request(signal.Signals(number).name)
