"""Writes checkpoints in a thread of its own, one after the other, while the training goes on.

Called by the safe points. It knows files, and nothing of a Trainer.
"""

from __future__ import annotations

import logging
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from launcher import context as run_context
from launcher.callbacks.resume_files import ResumeFiles
from launcher.errors import StoreError

log = logging.getLogger("launcher.checkpoints")


class Writer:
    """Keeps one checkpoint on its way to the disk, and knows what became of the last."""

    def __init__(self) -> None:
        self.saved_step: int | None = None
        """Step of the newest checkpoint that is on disk; a rank that writes none is told."""
        self.takes_s = 0.0
        """Longest time that a checkpoint took to be on disk so far [s]."""
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None
        self._refused: StoreError | None = None
        """Why the last checkpoint could not be kept."""

    def write(self, files: ResumeFiles, state: dict[str, Any], *, step: int, **facts: Any) -> None:
        """Begin to write a state that nobody changes any more; `join` waits for it.

        Args:
            files: Where it belongs.
            state: Plain values on the CPU.
            step: The optimizer step that it was taken after.
            **facts: What else `ResumeFiles.write` notes of it.
        """
        self._writing = self._pool.submit(self._write_now, files, state, step, facts)

    def join(self) -> None:
        """Wait until the last checkpoint is on disk, or the disk has refused it.

        Whatever else went wrong while it was written is a defect, and is raised here.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def raise_if_refused(self) -> None:
        """Do not go on as if the last checkpoint had been kept.

        Raises:
            StoreError: why it could not be.
        """
        if self._refused is not None:
            raise self._refused

    def _write_now(
        self, files: ResumeFiles, state: dict[str, Any], step: int, facts: dict[str, Any]
    ) -> None:
        began_s = time.monotonic()
        try:
            files.write(state, step=step, **facts)
        except StoreError as error:
            # Training goes on: the checkpoint before is whole, and the next may find room.
            log.error("the checkpoint of step %d could not be kept: %s", step, error)
            self._refused = error
            return
        self._refused = None
        self.takes_s = max(self.takes_s, time.monotonic() - began_s)
        self.saved_step = step
        run_context.note(saved_step=step)
