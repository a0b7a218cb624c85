"""The last line against a Trainer that starts another number of ranks than the scheduler did."""

from __future__ import annotations

import pytorch_lightning as pl

from launcher.context import RunContext
from launcher.errors import LauncherError


class SameWorld(pl.Callback):
    """Refuses to fit with fewer or more ranks than the run has.

    Four ranks of which each believes to be alone would train four models into one folder. A test
    or a prediction on one device is left alone: Lightning itself recommends it.
    """

    def __init__(self, context: RunContext) -> None:
        self._context = context

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Compare.

        Raises:
            LauncherError: the worlds differ.
        """
        context = self._context
        if stage == "fit" and trainer.world_size != context.world_size:
            raise LauncherError(
                f"the Trainer has {trainer.world_size} ranks, the run was started with"
                f" {context.num_nodes} x {context.ranks_per_node}",
                hint="build it as Trainer(**launcher.current().trainer_arguments()), or with"
                f" devices={context.ranks_per_node}, num_nodes={context.num_nodes}",
            )
