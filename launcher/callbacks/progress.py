"""Progress as log lines and as a small file, in place of a bar that clutters batch logs."""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn

from launcher.files import now, write_json
from launcher.memory import peak_memory_gb

log = logging.getLogger("launcher.progress")


class Progress(pl.Callback):
    """Writes `progress.json` and logs one line, at most every `interval_s` seconds."""

    def __init__(
        self, run_dir: Path, interval_s: float = 2.0, log_interval_s: float = 10.0
    ) -> None:
        self._path = run_dir / "progress.json"
        self._interval_s = interval_s
        self._log_interval_s = log_interval_s
        self._started = self._written = self._logged = 0.0
        self._first_step = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._started = self._logged = time.monotonic()
        self._first_step = trainer.global_step

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        moment = time.monotonic()
        if trainer.is_global_zero and moment - self._written >= self._interval_s:
            self._written = moment
            self._write(trainer)
        if trainer.is_global_zero and moment - self._logged >= self._log_interval_s:
            self._logged = moment
            self._log(trainer, moment)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            self._write(trainer)
            self._log(trainer, time.monotonic())

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Leave the true last step, however the training ends."""
        if trainer.is_global_zero and trainer.state.fn == TrainerFn.FITTING:
            self._write(trainer)

    def _write(self, trainer: pl.Trainer) -> None:
        left_s = self._left_s(trainer, time.monotonic())
        write_json(
            self._path,
            {
                "time": now(),
                "step": trainer.global_step,
                "total_steps": _total_steps(trainer),
                "epoch": trainer.current_epoch,
                "eta_s": None if left_s is None else round(left_s),
                "mem_peak_gb": peak_memory_gb(),
                "metrics": _metrics(trainer),
            },
        )

    def _rate(self, trainer: pl.Trainer, moment: float) -> float:
        """Optimizer steps per second of this attempt."""
        return (trainer.global_step - self._first_step) / max(moment - self._started, 1e-9)

    def _left_s(self, trainer: pl.Trainer, moment: float) -> float | None:
        """Time to the last step at the present rate, where both are known."""
        total, rate = _total_steps(trainer), self._rate(trainer, moment)
        return (total - trainer.global_step) / rate if total is not None and rate else None

    def _log(self, trainer: pl.Trainer, moment: float) -> None:
        left_s = self._left_s(trainer, moment)
        metrics = "  ".join(f"{name} {value:.4g}" for name, value in _metrics(trainer).items())
        log.info(
            "step %d/%s  %.1f steps/s  %s s left  %s",
            trainer.global_step,
            _total_steps(trainer) or "?",
            self._rate(trainer, moment),
            "?" if left_s is None else f"{left_s:.0f}",
            metrics,
        )


def _total_steps(trainer: pl.Trainer) -> int | None:
    """Optimizer steps of the whole training; None where nothing limits them."""
    total = trainer.estimated_stepping_batches
    return int(total) if math.isfinite(total) and total > 0 else None


def _metrics(trainer: pl.Trainer) -> dict[str, float]:
    found = trainer.callback_metrics
    values: list[Any] = [torch.as_tensor(value).detach().reshape(()) for value in found.values()]
    if len({(value.device, value.dtype) for value in values}) == 1:
        # Fetched together: each fetch by itself waits for the GPU, and for its turn.
        values = torch.stack(values).tolist()
    return {name: float(value) for name, value in zip(found, values, strict=True)}
