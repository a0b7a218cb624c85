"""Makes a training a probe: some steps, a validation beside its workers, a checkpoint, the end.

The steps, the switch to validation and the validation are Lightning's own, in the order of the
real run and with its loaders, so that what is measured is what the real run takes.
"""

from __future__ import annotations

import logging
from typing import Any

import pytorch_lightning as pl

from launcher import watch
from launcher.callbacks.safe_points import SafePoints
from launcher.settings import ProbeConfig
from launcher.stopping import ProbeDone

log = logging.getLogger("launcher.probe")


class Probe(pl.Callback):
    """Ends the first training of a task once it has seen enough of it."""

    def __init__(self, config: ProbeConfig) -> None:
        self._config = config
        self._first_step = 0
        self._has_validated = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Shorten validations, before Lightning counts their batches."""
        if stage == "fit":
            trainer.limit_val_batches = fewer(trainer.limit_val_batches, self._config.val_batches)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Have the loop validate when the steps are done, whatever its own interval is."""
        self._first_step = trainer.global_step
        self._has_validated = not trainer.enable_validation
        loop = trainer.fit_loop.epoch_loop
        original = loop._should_check_val_fx

        def should_validate(fetcher: Any) -> bool:
            is_due = self._has_trained(trainer) and not self._has_validated
            return is_due or original(fetcher)

        loop._should_check_val_fx = should_validate  # type: ignore[method-assign,assignment]

    def _has_trained(self, trainer: pl.Trainer) -> bool:
        return trainer.global_step - self._first_step >= self._config.steps

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A validation counts when it comes after the steps."""
        if not trainer.sanity_checking and self._has_trained(trainer):
            self._has_validated = True

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """End where the next step would begin, on all ranks with the same batch."""
        if self._has_validated and self._has_trained(trainer):
            self._end(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A training that is shorter than the probe ends the probe; what follows it is not."""
        self._leave(trainer)

    def _end(self, trainer: pl.Trainer) -> None:
        watch.mark("saving", trainer.global_step)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, SafePoints):
                callback.save_now()
        self._leave(trainer)

    def _leave(self, trainer: pl.Trainer) -> None:
        trainer.strategy.barrier()  # a rank that left first would have the others killed
        log.info(
            "the probe ends after %d steps; further trainings of the task, and what follows"
            " them, are not part of it",
            trainer.global_step - self._first_step,
        )
        raise ProbeDone


def fewer(limit: float | None, batches: int) -> float:
    """A limit of Lightning (a number of batches, or a share) that is at most `batches`."""
    if limit is None or (isinstance(limit, float) and limit > 0):
        return batches  # a share of a loader that is not there yet
    return min(limit, batches)
