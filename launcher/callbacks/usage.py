"""Tells the telemetry what only the Trainer knows: phases, times of steps, sizes, loaders.

Nothing here waits for a GPU, draws a random number or changes what a training does; a step costs
a few readings of a clock.
"""

from __future__ import annotations

import math
import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities.combined_loader import CombinedLoader

from launcher import telemetry
from launcher.callbacks import fetching, sizes
from launcher.callbacks.card import Card, card_of
from launcher.callbacks.loaders import TimedLoader
from launcher.callbacks.safe_points import SafePoints
from launcher.callbacks.steps import StepClock
from launcher.context import RunContext
from launcher.records import LoaderUse, Phase
from launcher.telemetry.age import age_s


class Usage(pl.Callback):
    """Measures each training of a run; what is written describes the last one."""

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._phase: Phase | None = None
        self._is_fitting = False
        self._begin()

    def _begin(self) -> None:
        """Forget the training before."""
        self._fetching = fetching.renew()
        self._fetching.before_validation = self._switch
        self.clock = StepClock(lambda: self._fetching.waited_s)
        """Of the steps of this training; curves read it too."""
        self.card: Card | None = None
        """What was seen of the rank's GPU, where it has one."""
        self._loaders: dict[str, LoaderUse] = {}
        self._step = 0
        self._has_stepped = False
        self._batch_size: int | None = None
        self._overlaps: bool | None = None
        self._validation_began_s: float | None = None
        self._validations = 0
        self._validation_s = 0.0
        self._validation_batches = 0
        self._batches = 0
        """Of the validation that has begun, from its first loader."""
        self._safe_points: SafePoints | None = None

    def _enter(self, phase: Phase) -> None:
        if phase != self._phase:
            self._phase = phase
            telemetry.enter(phase)

    # ---- the beginning and the end ----------------------------------------------------------

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Stand between the loops and their loaders where nobody does yet."""
        if stage != "fit":
            return
        self._begin()
        self._is_fitting = True
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        self._safe_points = next((c for c in callbacks if isinstance(c, SafePoints)), None)
        known = vars(trainer.strategy)
        if "process_dataloader" in known:
            return
        original = trainer.strategy.process_dataloader

        def process(loader: Any) -> Any:
            return TimedLoader(original(loader), is_training=bool(trainer.training))

        known["process_dataloader"] = process

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._step = trainer.global_step
        self.card = card_of(trainer.strategy.root_device, self._is_timed)
        for loader in _flat(trainer.train_dataloader)[:1]:
            self._loaders["train"] = sizes.loader_use(loader, "train", trainer.world_size)
        self._find_validation(trainer)
        total = trainer.estimated_stepping_batches
        telemetry.note(
            total_steps=int(total) if math.isfinite(total) and total > 0 else None,
            weights_gb=sizes.weights_gb(pl_module),
            gpu_name=self.card.name if self.card is not None else None,
            gpu_mem_gb=self.card.mem_gb if self.card is not None else None,
        )
        telemetry.ask(self._facts, self.card.look if self.card is not None else None)

    def _find_validation(self, trainer: pl.Trainer) -> None:
        """Lightning may make the loaders of validation before training, or when it needs them."""
        for loader in _flat(trainer.val_dataloaders)[:1]:
            found = sizes.loader_use(loader, "validate", trainer.world_size)
            self._loaders.setdefault("validate", found)

    def _is_timed(self) -> bool:
        return self._phase == "train" and self.clock.is_warm

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._leave(trainer)
        self._enter("other")

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._leave(trainer)

    def _leave(self, trainer: pl.Trainer) -> None:
        """What is known stays known."""
        if not self._is_fitting:
            return
        self._is_fitting = False
        vars(trainer.strategy).pop("process_dataloader", None)
        telemetry.ask(None)

    # ---- training ---------------------------------------------------------------------------

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Its first batch waits for workers that have just begun."""
        self.clock.disturb()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._enter("train")
        if self._batch_size is None:
            self._measure_batch(trainer, batch)

    def _measure_batch(self, trainer: pl.Trainer, batch: Any) -> None:
        samples = self._size("train", batch)
        if samples is not None:
            self._batch_size = samples * trainer.accumulate_grad_batches * trainer.world_size
            telemetry.note(micro_batch_size=samples, batch_size=self._batch_size)

    def _size(self, stage: str, batch: Any) -> int | None:
        """Complete what is known of a loader by its first batch; returns the samples in one."""
        known = self._loaders.get(stage)
        if known is None:
            return sizes.first_dimension(batch)
        if known.batch_gb is None:
            found = {
                "batch_gb": sizes.gb_of(sizes.tensors(batch)),
                "batch_size": known.batch_size or sizes.first_dimension(batch),
            }
            known = self._loaders[stage] = known.model_copy(update=found)
        return known.batch_size

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Any
    ) -> None:
        if not self._has_stepped:
            telemetry.note(gradients_gb=sizes.gradients_gb(pl_module))

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        step = trainer.global_step
        if step == self._step:
            return
        self._step = step
        self.clock.step(time.monotonic())
        if not self._has_stepped:
            self._has_stepped = True
            telemetry.note(
                start_s=round(age_s(self._context.began_s), 2),
                optimizer_gb=sizes.optimizer_gb(trainer.optimizers),
            )

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """A state is being copied, for a resume checkpoint or for one of Lightning's."""
        self.clock.disturb()
        if self._is_fitting:
            self._enter("checkpoint")

    # ---- validation -------------------------------------------------------------------------

    def _switch(self) -> None:
        """A pass over a validation loader begins: its workers are about to start."""
        # The check before training is part of the start.
        if self._has_stepped and self._validation_began_s is None:
            self._validation_began_s = time.monotonic()
            self._batches = 0
            self.clock.disturb()
            self._enter("switch")

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.sanity_checking and trainer.state.fn == TrainerFn.FITTING:
            self._switch()

    def on_validation_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if trainer.sanity_checking:
            return
        self._enter("validate")
        self._batches += dataloader_idx == 0
        if self._is_fitting and batch_idx == 0:
            self._overlaps = bool(self._overlaps) or self._fetching.has_training_workers()
            self._find_validation(trainer)
            self._size("validate", batch)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        began_s, self._validation_began_s = self._validation_began_s, None
        if began_s is not None and not trainer.sanity_checking:
            self._validations += 1
            self._validation_s += time.monotonic() - began_s
            self._validation_batches += self._batches

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._enter("other")

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._enter("other")

    # ---- what is told -----------------------------------------------------------------------

    def _facts(self) -> dict[str, Any]:
        """What changes; asked for from the telemetry's thread, before it writes."""
        clock = self.clock
        step_s, wait_share = clock.step_s, clock.wait_share
        saved_s = self._safe_points.save_takes_s if self._safe_points is not None else 0.0
        samples_per_s = self._batch_size / step_s if step_s and self._batch_size else None
        count = self._validations
        return {
            "loaders": list(self._loaders.values()),
            "timed_steps": clock.steps,
            "step_s": _rounded(step_s),
            "data_wait_share": _rounded(wait_share),
            "samples_per_s": _rounded(samples_per_s),
            "overlaps": self._overlaps,
            "validations": count,
            "validation_s": _rounded(self._validation_s / count) if count else None,
            "validation_batches": _rounded(self._validation_batches / count) if count else None,
            "checkpoint_s": _rounded(saved_s) if saved_s else None,
            "gpu_utilization": self.card.utilization if self.card is not None else None,
            "gpu_power_w": self.card.power_w if self.card is not None else None,
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _flat(loaders: Any) -> list[Any]:
    """The single loaders of what Lightning calls one."""
    if loaders is None:
        return []
    return list(CombinedLoader(loaders, "sequential").flattened)
