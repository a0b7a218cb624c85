"""Rows of metrics are written once their numbers have come from the GPU.

Lightning fetches the numbers of a row one after the other, and each time the GPU must have done all
that it was given: in the meantime it is given nothing, and the GPUs of other ranks wait for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl

from launcher.callbacks.underway import Underway

_MOST = 4
"""Rows under way; with more, the first is waited for."""
_LOGS = "log_metrics"


class Rows(pl.Callback):
    """Stands between Lightning and its loggers; rows keep their order, numbers and steps."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Underway, int]] = deque()

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Take the rows of a training, before its first one."""
        if stage != "fit":
            return
        connector: Any = trainer._logger_connector

        def log_metrics(metrics: Mapping[str, Any], step: int | None = None) -> None:
            if not trainer.loggers or not metrics:
                return
            row = dict(metrics)
            connector._logged_metrics.update(row)
            if step is None and "step" not in row:
                row.setdefault("epoch", trainer.current_epoch)
                step = trainer.fit_loop.epoch_loop._batches_that_stepped
            self.take(trainer, row, step if step is not None else int(row.pop("step")))

        vars(connector)[_LOGS] = log_metrics

    def take(self, trainer: pl.Trainer, row: Mapping[str, Any], step: int) -> None:
        """Write a row when it is its turn."""
        self._waiting.append((Underway(row), step))
        self._write(trainer, most=_MOST)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        """Write what has come."""
        self._write(trainer, most=_MOST)

    def write_all(self, trainer: pl.Trainer) -> None:
        """Write all rows, waiting for what is under way."""
        self._write(trainer, most=0)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A validation may be stopped, and goes on in another process."""
        self.write_all(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let nothing of a training be written after it."""
        self.write_all(trainer)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Keep what came before, and the Trainer as it was."""
        self.write_all(trainer)
        vars(trainer._logger_connector).pop(_LOGS, None)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Let Lightning log by itself again."""
        self.write_all(trainer)
        vars(trainer._logger_connector).pop(_LOGS, None)

    def _write(self, trainer: pl.Trainer, *, most: int) -> None:
        while self._waiting and (len(self._waiting) > most or self._waiting[0][0].is_there):
            row, step = self._waiting.popleft()
            numbers = row.numbers()
            for logger in trainer.loggers:
                logger.log_metrics(numbers, step)
                logger.save()


def log(trainer: pl.Trainer, row: Mapping[str, Any], step: int) -> None:
    """Write a row to all loggers, in turn with those of Lightning where this is a run of ours."""
    rows = _of(trainer)
    if rows is not None:
        rows.take(trainer, row, step)
        return
    numbers = Underway(row).numbers()
    for logger in trainer.loggers:
        logger.log_metrics(numbers, step)


def write_all(trainer: pl.Trainer) -> None:
    """Have all rows written, as before a checkpoint whose later life logs what comes after."""
    rows = _of(trainer)
    if rows is not None:
        rows.write_all(trainer)
    for logger in trainer.loggers:
        logger.save()


def _of(trainer: pl.Trainer) -> Rows | None:
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    return next((callback for callback in callbacks if isinstance(callback, Rows)), None)
