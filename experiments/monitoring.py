"""Curves of a training besides its losses: learning rates, gradient norm, speed, GPU.

Speed and waiting are read from the launcher's telemetry, which measures them in any case;
docs/explanation/telemetry.md says what they mean.
"""

from __future__ import annotations

import math
from typing import Any

import pytorch_lightning as pl
import torch
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from launcher.callbacks import rows
from launcher.callbacks.steps import StepClock
from launcher.callbacks.underway import Underway
from launcher.callbacks.usage import Usage

GB = 2**30
_ADVICE = (
    "lower optimizer.lr, lengthen optimizer.warmup_steps, or look for what is wrong with the data"
)


class Curves(pl.Callback):
    """Logs every `trainer.log_every_steps` steps, beside the row of the losses.

    Speed is that of the steps since the last row. The values go to the loggers and not through
    `self.log`, so that they are no metrics of the task and no part of its progress line. Nothing is
    fetched from a GPU in between.
    """

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._seen = (0, 0.0, 0.0)
        """Steps, seconds and seconds of waiting that earlier rows have told."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The telemetry begins anew with each training."""
        self._seen = (0, 0.0, 0.0)

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Log what the step is about to be made of; gradients are unscaled and not yet clipped."""
        step = trainer.global_step
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if not trainer.is_global_zero or (step + 1) % every:
            return
        values = {
            **learning_rates(optimizer),
            "train/gradient_norm": gradient_norm(optimizer),
            **self._speed(trainer),
            **_gpu(trainer),
        }
        rows.log(trainer, values, step)

    def _speed(self, trainer: pl.Trainer) -> dict[str, float]:
        clock = _clock(trainer)
        if clock is None:
            return {}
        seen, now = self._seen, (clock.steps, clock.seconds, clock.waited_s)
        steps, seconds, waited_s = now[0] - seen[0], now[1] - seen[1], now[2] - seen[2]
        if not steps or not seconds:
            return {}
        self._seen = now
        return {
            "speed/step_s": seconds / steps,
            "speed/samples_per_s": self._batch_size * steps / seconds,
            "speed/data_wait_share": min(waited_s / seconds, 1.0),
        }


class Divergence(pl.Callback):
    """Ends a training whose loss is no number any more, which would go on to its last step.

    It looks every `trainer.log_every_steps` steps, and once may be the overflow of a half precision
    that the next step gets over; at the end it looks at the weights.
    """

    def __init__(self) -> None:
        self._look: tuple[int, Underway] | None = None
        self._looked_at = 0
        """Step; the micro-batches of one overflow together."""
        self._since: int | None = None

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Look at the last loss that has come from the GPU.

        Raises:
            RuntimeError: it was not finite, and was not when it was looked at before.
        """
        if self._look is not None and self._look[1].is_there:
            (step, loss), self._look = self._look, None
            self._judge(step, loss.numbers()["loss"])
        step, every = trainer.global_step, trainer.log_every_n_steps  # type: ignore[attr-defined]
        if self._look is None and step % every == 0 and step != self._looked_at:
            self._looked_at, self._look = step, (step, Underway({"loss": outputs["loss"]}))

    def _judge(self, step: int, loss: float) -> None:
        if math.isfinite(loss):
            self._since = None
        elif self._since is None:
            self._since = step
        else:
            raise RuntimeError(
                f"the loss is {loss} since step {self._since} or shortly before: {_ADVICE}"
            )

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at what was learnt: the loss may have been a number when it was looked at last.

        Raises:
            RuntimeError: some of it is not finite.
        """
        learnt = [p.detach() for p in pl_module.parameters() if p.requires_grad and p.numel()]
        if learnt and not torch.stack([p.isfinite().all() for p in learnt]).all():
            raise RuntimeError(
                f"weights are not finite after step {trainer.global_step}: {_ADVICE}"
            )


def learning_rates(optimizer: Optimizer) -> dict[str, float]:
    """Return `lr/<name>` of each rate; groups that differ in weight decay only share a name."""
    return {
        f"lr/{group.get('name', 'all')}": float(group["lr"]) for group in optimizer.param_groups
    }


def gradient_norm(optimizer: Optimizer) -> torch.Tensor:
    """Return the norm of all gradients of an optimiser as one vector, on their device."""
    parameters = (p for group in optimizer.param_groups for p in group["params"])
    return get_total_norm([p.grad for p in parameters if p.grad is not None])


def _usage(trainer: pl.Trainer) -> Usage | None:
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    return next((c for c in callbacks if isinstance(c, Usage)), None)


def _clock(trainer: pl.Trainer) -> StepClock | None:
    """The telemetry's clock; None outside of runs of the launcher."""
    usage = _usage(trainer)
    return usage.clock if usage is not None else None


def _gpu(trainer: pl.Trainer) -> dict[str, float]:
    """What the rank's GPU does, as the telemetry and torch's own counters tell."""
    device, usage = trainer.strategy.root_device, _usage(trainer)
    if device.type != "cuda":
        return {}
    values = {"speed/gpu_memory_gb": torch.cuda.max_memory_allocated(device) / GB}
    card = usage.card if usage is not None else None
    if card is not None and card.utilization is not None:
        values["speed/gpu_utilization"] = card.utilization
    return values
