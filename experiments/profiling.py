"""Where the time of a training step goes: a trace of a few steps by torch's own profiler."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch.profiler import ProfilerActivity, profile, schedule

log = logging.getLogger(__name__)

SKIPPED = 20
"""First steps of a life, which allocate, tune and fill queues."""
_SETTLING = 4
"""The last of those, in which the profiler is there: it holds each rank up for another while."""
_ROWS = 40


class Profile(pl.Callback):
    """Traces `steps` steps of each rank, once a life.

    `profile/rank-R.json.gz` in the run folder opens in Perfetto or chrome://tracing,
    `profile/rank-R.txt` is its table. Steps that are traced take longer.
    """

    def __init__(self, folder: Path, rank: int, steps: int) -> None:
        self._folder, self._rank, self._steps = folder, rank, steps
        self._profile: profile | None = None
        self._seen = 0
        self._step = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count the steps of this life."""
        self._step, self._seen = trainer.global_step, 0

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Begin or end between two steps."""
        if trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        self._seen += 1
        settling = min(_SETTLING, SKIPPED - 1)
        if self._seen == SKIPPED - settling:
            cuda = [ProfilerActivity.CUDA] if pl_module.device.type == "cuda" else []
            self._profile = profile(
                activities=[ProfilerActivity.CPU, *cuda],
                schedule=schedule(wait=0, warmup=settling, active=self._steps + 1, repeat=1),
            )
            self._profile.start()
        elif self._seen == SKIPPED + self._steps:
            self._end()
        elif self._profile is not None:
            self._profile.step()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """A training that ends earlier leaves what there is."""
        self._leave()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """So does one that is stopped, as a probe is."""
        self._leave()

    def _leave(self) -> None:
        if 0 < self._seen < SKIPPED:
            log.warning("no step was traced: the training ended before its step %d", SKIPPED + 1)
            if self._profile is not None:
                self._profile.stop()
            self._profile = None
        self._seen = 0
        self._end()

    def _end(self) -> None:
        found, self._profile = self._profile, None
        if found is None:
            return
        found.stop()
        self._folder.mkdir(exist_ok=True)
        found.export_chrome_trace(str(self._folder / f"rank-{self._rank}.json.gz"))
        means = found.key_averages()
        by = "cuda" if any(mean.device_time_total for mean in means) else "cpu"
        table = means.table(sort_by=f"self_{by}_time_total", row_limit=_ROWS)
        (self._folder / f"rank-{self._rank}.txt").write_text(table)
        log.info("the profile of %d steps is in %s", self._steps, self._folder)
