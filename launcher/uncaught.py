"""One message in place of Hydra's own, where `launch` runs a program that knows nothing of us.

A program of `launcher.main` explains its errors by itself. Of others Hydra prints what it likes,
unless it is told to raise: then the hook for uncaught exceptions speaks.
"""

from __future__ import annotations

import os
import sys
from types import TracebackType

from launcher import messages

ASKED = "LAUNCHER_ASKED"
"""Environment variable of a program that a command of `launch` runs: the name of the command."""
_FULL_ERROR = "HYDRA_FULL_ERROR"


def variables(action: str) -> dict[str, str]:
    """Environment of a program that is run for a command."""
    return {ASKED: action, _FULL_ERROR: "1"}


def watch() -> None:
    """Called when Hydra finds our plugins, before it composes; nothing unless a command asks."""
    if os.environ.get(ASKED):
        sys.excepthook = _show


def done() -> None:
    """Our launcher was called: jobs shall not inherit the switches."""
    if os.environ.pop(ASKED, None):
        os.environ.pop(_FULL_ERROR, None)
        sys.excepthook = sys.__excepthook__


def _show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    from launcher.entry import explained

    explanation = explained(error)
    if explanation is None:
        sys.__excepthook__(kind, error, trace)
        return
    sys.exit(messages.show(explanation))
