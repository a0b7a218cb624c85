"""Keeps what dataloader workers share with their rank shared."""

from __future__ import annotations

import gc

import pytorch_lightning as pl


class SharedHeap(pl.Callback):
    """Keeps Python's collector from looking at objects that are there before workers start.

    It writes to each object that it looks at. In a forked worker that copies all that Python holds
    of the libraries, tens of MB in each worker.
    """

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Freeze, with model and data in place."""
        freeze()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Let the collector look at all again."""
        gc.unfreeze()


def freeze() -> None:
    """Keep the collector from all objects that are there, in this process and those it forks."""
    gc.collect()  # what is garbage now would stay
    gc.freeze()
