"""Progress as log lines and as a small file, in place of a bar that clutters batch logs."""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.trainer.states import TrainerFn

from launcher.callbacks.underway import Underway
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
        self._underway: tuple[dict[str, Any], Underway] | None = None

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
        if not trainer.is_global_zero:
            return
        if self._underway is None and moment - self._written >= self._interval_s:
            self._written = moment
            self._underway = self._begun(trainer)
        if self._underway is not None and self._underway[1].is_there:
            self._write(trainer, is_told=moment - self._logged >= self._log_interval_s)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            self._underway = self._begun(trainer)
            self._write(trainer, is_told=True)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Leave the true last step, however the training ends."""
        if trainer.is_global_zero and trainer.state.fn == TrainerFn.FITTING:
            self._underway = self._begun(trainer)
            self._write(trainer, is_told=False)

    def _begun(self, trainer: pl.Trainer) -> tuple[dict[str, Any], Underway]:
        """What is to be written, and its metrics on their way from the GPU."""
        left_s = self._left_s(trainer, time.monotonic())
        content = {
            "time": now(),
            "step": trainer.global_step,
            "total_steps": _total_steps(trainer),
            "epoch": trainer.current_epoch,
            "eta_s": None if left_s is None else round(left_s),
            "mem_peak_gb": peak_memory_gb(),
        }
        return content, Underway(trainer.callback_metrics)

    def _write(self, trainer: pl.Trainer, *, is_told: bool) -> None:
        assert self._underway is not None
        (content, underway), self._underway = self._underway, None
        metrics = {name: float(value) for name, value in underway.numbers().items()}
        write_json(self._path, {**content, "metrics": metrics})
        if is_told:
            self._logged = time.monotonic()
            self._log(content, metrics, self._rate(trainer, self._logged))

    def _rate(self, trainer: pl.Trainer, moment: float) -> float:
        """Optimizer steps per second of this attempt."""
        return (trainer.global_step - self._first_step) / max(moment - self._started, 1e-9)

    def _left_s(self, trainer: pl.Trainer, moment: float) -> float | None:
        """Time to the last step at the present rate, where both are known."""
        total, rate = _total_steps(trainer), self._rate(trainer, moment)
        return (total - trainer.global_step) / rate if total is not None and rate else None

    def _log(self, content: dict[str, Any], metrics: dict[str, float], rate: float) -> None:
        log.info(
            "step %d/%s  %.1f steps/s  %s s left  %s",
            content["step"],
            content["total_steps"] or "?",
            rate,
            "?" if content["eta_s"] is None else content["eta_s"],
            "  ".join(f"{name} {value:.4g}" for name, value in metrics.items()),
        )


def _total_steps(trainer: pl.Trainer) -> int | None:
    """Optimizer steps of the whole training; None where nothing limits them."""
    total = trainer.estimated_stepping_batches
    return int(total) if math.isfinite(total) and total > 0 else None
