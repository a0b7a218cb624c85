"""A logger of Lightning that writes the journal. It never waits and never fails a training."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_utilities.core.rank_zero import rank_zero_only
from pytorch_lightning.loggers.logger import Logger

from launcher import context as run_context
from launcher.errors import LauncherError
from launcher.tracking import kept
from launcher.tracking.journal import Journal

log = logging.getLogger("launcher.tracking")


class JournalLogger(Logger):
    """Appends what is logged to a run's journal; rows of steps that are done again are dropped.

    The step that a life goes on from is known when its training starts, hence before its first row.
    """

    def __init__(self, path: Path, attempt: str) -> None:
        super().__init__()
        self._path = path
        self._attempt = attempt
        self._journal: Journal | None = None
        self._is_warned = False

    @property
    def name(self) -> str:
        """What Lightning calls it."""
        return "journal"

    @property
    def version(self) -> str:
        """There is one journal for all lives."""
        return ""

    @property
    def experiment(self) -> Path:
        """Where the rows are. Lightning asks for it before it knows what is resumed."""
        return self._path

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Add a row."""
        values = {name: float(value) for name, value in metrics.items()}
        trouble = self._begun().append(int(step or 0), time.time(), values)
        if trouble is not None:
            self._warn("rows for W&B are kept in memory: %s", trouble)

    def _warn(self, text: str, trouble: object) -> None:
        """Once: a disk that is full is so at each row."""
        if not self._is_warned:
            self._is_warned = True
            log.warning(text, trouble)

    def _begun(self) -> Journal:
        """The journal, cut back to where this life began."""
        if self._journal is None:
            self._journal = Journal(self._path, self._attempt)
            first = run_context.notes().get("resumed_step") or 0
            if dropped := self._journal.rewind(first):
                log.info("%d logged rows from step %d on are logged again", dropped, first)
        return self._journal

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the card has the whole config."""

    @rank_zero_only
    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        """Note which checkpoint of a `ModelCheckpoint` is the best so far."""
        best = checkpoint_callback.best_model_path or checkpoint_callback.last_model_path
        score = checkpoint_callback.best_model_score
        if not best:
            return
        try:
            kept.note(
                self._path.parent,
                Path(best),
                checkpoint_callback.monitor,
                None if score is None else float(score),
            )
        except LauncherError as error:
            self._warn("the best checkpoint may not be shown at W&B: %s", error.message)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what the disk refused before, or say that W&B will not have it."""
        trouble = self._journal.flush() if self._journal is not None else None
        if trouble is not None:
            log.warning("W&B will lack the last rows, which metrics.csv may have: %s", trouble)


def loggers_of(
    run_dir: Path, attempt: str, *, csv: bool, tensorboard: bool, journal: Path | None
) -> list[Logger]:
    """Loggers for the Trainer of a run, several or none."""
    from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger

    found: list[Logger] = []
    if csv:
        # One folder per attempt: CSVLogger deletes what it finds in its own.
        found.append(CSVLogger(save_dir=run_dir, name="metrics", version=attempt))
    if tensorboard:
        found.append(TensorBoardLogger(save_dir=run_dir, name="tensorboard", version=attempt))
    if journal is not None:
        found.append(JournalLogger(journal, attempt))
    return found
