"""What measuring a rank costs it: `python benchmarks/telemetry.py [GB]`.

The same training runs with and without the telemetry, in pairs, in this process: steps of 10 ms, a
rank that holds so many GB (4), two workers. Of the second half of the steps: what more the process
computes with it, as a share of one core, and the time of the steps as a ratio. The share must
stay below 0.5 %. What the first half takes is paid once.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

PAIRS = 4
STEPS = 2000
STEP_S = 0.010
LIMIT = 0.005


@dataclass(frozen=True)
class Cost:
    """The second half of one training."""

    seconds: float
    cpu_s: float
    looks_s: float = 0.0
    """CPU time of the looks in it."""
    once_s: float = 0.0
    """CPU time of the looks before it."""


def train(folder: Path, *, measured: bool) -> Cost:
    """One training of this process."""
    import pytorch_lightning as pl
    import torch
    from torch.utils.data import DataLoader

    from launcher import context
    from launcher.callbacks import entry
    from launcher.context import RunContext
    from launcher.settings import RecoveryConfig
    from tests.local import trainings

    class Paced(trainings.Model):
        """Steps of equal length."""

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            time.sleep(STEP_S)
            return super().training_step(batch, batch_idx)

    class Timer(pl.Callback):
        """Times all steps but the first ones."""

        def on_train_batch_end(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
            if trainer.global_step in (STEPS // 2, STEPS):
                moments.append((time.perf_counter(), time.process_time(), spent_s()))

    moments: list[tuple[float, float, float]] = []
    run = RunContext(
        run_dir=folder, key="k", name="n", attempt="001-000", recovery=RecoveryConfig()
    )
    found = entry.callbacks

    def without() -> list[Any]:
        return [callback for callback in found() if type(callback).__name__ != "Usage"]

    patch = contextlib.nullcontext() if measured else mock.patch.object(entry, "callbacks", without)
    context.enter(run)
    with patch, measuring(run, measured) as spent_s:
        points = trainings.Noisy(2 * STEPS)
        pl.Trainer(
            default_root_dir=folder, accelerator="cpu", max_steps=STEPS, limit_val_batches=0,
            logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, callbacks=[Timer()],
        ).fit(Paced(), DataLoader(points, batch_size=2, num_workers=2))  # fmt: skip
    context.enter(None)
    (began_s, began_cpu_s, once_s), (ended_s, ended_cpu_s, all_s) = moments
    return Cost(ended_s - began_s, ended_cpu_s - began_cpu_s, all_s - once_s, once_s)


@contextlib.contextmanager
def measuring(run: Any, measured: bool) -> Iterator[Callable[[], float]]:
    """Measure, or not; yields what tells the CPU time of the looks so far."""
    from launcher import telemetry

    if not measured:
        yield lambda: 0.0
        return
    with telemetry.measuring(run) as sampler:
        yield lambda: sampler.spent_s


def main() -> int:
    """Run the pairs and report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("gb", type=float, nargs="?", default=4.0)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    import torch

    torch.set_num_threads(1)
    held = b"x" * int(arguments.gb * 2**30)
    pairs = []
    with tempfile.TemporaryDirectory() as name:
        for number in range(PAIRS):
            order = [True, False] if number % 2 else [False, True]
            folder = Path(name) / str(number)
            found = {on: train(folder / str(on), measured=on) for on in order}
            pairs.append((found[True], found[False]))
    ratios = [on.seconds / off.seconds for on, off in pairs]
    shares = [(on.cpu_s - off.cpu_s) / off.seconds for on, off in pairs]
    looks = [on.looks_s / on.seconds for on, _ in pairs]
    share = statistics.median(shares)
    print(
        f"{PAIRS} pairs of {STEPS} steps of {STEP_S * 1e3:.0f} ms, a rank of {len(held) / 2**30:g}"
        f" GB with 2 workers\n"
        f"time with / without:   {statistics.median(ratios):.4f}"
        f" ({min(ratios):.4f} to {max(ratios):.4f})\n"
        f"CPU time more with it: {share:.3%} of a core"
        f" ({min(shares):.3%} to {max(shares):.3%})\n"
        f"looks alone:           {statistics.median(looks):.3%} of a core"
        f" ({min(looks):.3%} to {max(looks):.3%})\n"
        f"looks of the start:    {statistics.median(on.once_s for on, _ in pairs):.2f} s, once\n"
        f"limit: {LIMIT:.1%}: {'kept' if share < LIMIT else 'MISSED'}"
    )
    return 0 if share < LIMIT else 1


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    sys.exit(main())
