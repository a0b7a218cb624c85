"""Experiment launcher: Hydra multirun sweeps of Lightning tasks on SLURM, and back.

Importing it imports no torch and no Hydra; names are resolved when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from launcher.context import RunContext, current
    from launcher.entry import main
    from launcher.program import launch, preview
    from launcher.studies import Study, study

__version__ = "0.1.0"
__all__ = ["RunContext", "Study", "__version__", "current", "launch", "main", "preview", "study"]

_HOMES = {
    "RunContext": "context",
    "Study": "studies",
    "current": "context",
    "launch": "program",
    "main": "entry",
    "preview": "program",
    "study": "studies",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module `launcher` has no attribute `{name}`")
    import importlib

    return getattr(importlib.import_module(f"launcher.{_HOMES[name]}"), name)
