"""Progress as log lines and as a small file, in place of a bar that clutters batch logs."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from launcher.store import now, write_json

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

    def _write(self, trainer: pl.Trainer) -> None:
        write_json(
            self._path,
            {
                "time": now(),
                "step": trainer.global_step,
                "total_steps": trainer.max_steps if trainer.max_steps > 0 else None,
                "epoch": trainer.current_epoch,
                "metrics": _metrics(trainer),
            },
        )

    def _log(self, trainer: pl.Trainer, moment: float) -> None:
        steps = trainer.global_step - self._first_step
        rate = steps / max(moment - self._started, 1e-9)
        left_s = (trainer.max_steps - trainer.global_step) / rate if rate else float("nan")
        metrics = "  ".join(f"{name} {value:.4g}" for name, value in _metrics(trainer).items())
        log.info(
            "step %d/%d  %.1f steps/s  %.0f s left  %s",
            trainer.global_step,
            trainer.max_steps,
            rate,
            left_s,
            metrics,
        )


def _metrics(trainer: pl.Trainer) -> dict[str, float]:
    return {name: float(value) for name, value in trainer.callback_metrics.items()}
