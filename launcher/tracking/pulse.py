"""Whether somebody publishes a run just now, or syncs a study: a file that is touched meanwhile."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

from launcher import files

NAME = "publishing"
EVERY_S = 2.0
SILENT_S = 20.0
"""A file that was not touched for so long is of a process that was killed [s]."""


@contextlib.contextmanager
def beating(folder: Path) -> Iterator[None]:
    """Touch a file in the tracking folder of a run, or that of a study, until the block is left."""
    path = folder / NAME
    is_over = threading.Event()

    def beat() -> None:
        while not is_over.is_set():
            with contextlib.suppress(OSError):  # a full disk: nobody is kept waiting for that
                path.touch()
            is_over.wait(EVERY_S)

    thread = threading.Thread(target=beat, name="launcher-publishing", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join(EVERY_S)
        end(folder)


def end(folder: Path) -> None:
    """Say that nobody publishes any more: who did has ended, or was killed."""
    with contextlib.suppress(OSError):
        (folder / NAME).unlink(missing_ok=True)


def is_beating(folder: Path) -> bool:
    """Whether a process publishes or syncs what has this folder.

    Raises:
        StoreError: the disk refuses.
    """
    try:
        beat_s = (folder / NAME).stat().st_mtime
    except FileNotFoundError:
        return False
    return files.present_s(folder) - beat_s < SILENT_S
