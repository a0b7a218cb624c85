"""Curves stand beside the losses, are no metrics of the task, and repeat what telemetry saw."""

import csv
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger
from torch.optim import SGD

from experiments.monitoring import Curves, Divergence, gradient_norm, learning_rates
from experiments.settings import FinetuneConfig
from launcher import context
from launcher.callbacks.steps import StepClock
from launcher.callbacks.usage import Usage
from launcher.context import RunContext
from tests.unit.experiments.models import tiny
from tests.unit.experiments.models.tuned import planner

pytestmark = pytest.mark.filterwarnings("ignore:The `srun` command is available")

LAST = FinetuneConfig(policy="last_n", blocks=1, lr_scale=0.1)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunContext]:
    running = RunContext(run_dir=tmp_path, key="k", name="n", attempt="001-000")
    context.enter(running)
    yield running
    context.enter(None)


class Norms(pl.Callback):
    """What the gradients really were."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        gradients = [p.grad.flatten() for p in pl_module.parameters() if p.grad is not None]
        self.seen.append(float(torch.cat(gradients).norm()))


def rows_of(folder: Path, *callbacks: pl.Callback, steps: int = 8) -> list[dict[str, str]]:
    torch.set_num_threads(1)
    module = planner(tiny.ijepa(), LAST, schedule="linear", gradient_clip=1e-3)
    logger = CSVLogger(folder, name="metrics", version="0")
    trainer = tiny.fit(
        module, num_batches=8, max_steps=steps, logger=logger, log_every_n_steps=4,
        callbacks=[Curves(batch_size=8), *callbacks],
    )  # fmt: skip
    assert not [name for name in trainer.callback_metrics if not name.startswith("train/")]
    assert "train/gradient_norm" not in trainer.callback_metrics
    with open(folder / "metrics" / "0" / "metrics.csv") as file:
        return [{k: v for k, v in row.items() if v} for row in csv.DictReader(file)]


def test_rates_and_gradients_stand_at_the_steps_of_the_losses(run: RunContext) -> None:
    norms = Norms()
    rows = rows_of(run.run_dir, norms)
    losses = [row for row in rows if "train/loss" in row]
    curves = [row for row in rows if "train/gradient_norm" in row]
    assert [row["step"] for row in losses] == [row["step"] for row in curves] == ["3", "7"]
    told = [float(row["train/gradient_norm"]) for row in curves]
    assert told == pytest.approx([norms.seen[3], norms.seen[7]], rel=1e-5)
    assert min(told) > 1e-3  # before they were clipped
    for row, step in zip(curves, (3, 7), strict=True):
        assert float(row["lr/head"]) == pytest.approx(1e-3 * (1 - step / 30))
        assert float(row["lr/backbone"]) == pytest.approx(1e-4 * (1 - step / 30))


def test_speed_is_told_in_runs_of_the_launcher(run: RunContext) -> None:
    rows = [row for row in rows_of(run.run_dir) if "speed/step_s" in row]
    assert [row["step"] for row in rows] == ["7"]  # the first steps after a start are not timed
    step_s, rate = float(rows[0]["speed/step_s"]), float(rows[0]["speed/samples_per_s"])
    assert rate == pytest.approx(8 / step_s)
    assert 0 <= float(rows[0]["speed/data_wait_share"]) <= 1


def test_outside_of_runs_only_what_the_training_knows_is_told(tmp_path: Path) -> None:
    rows = [row for row in rows_of(tmp_path, steps=4) if "train/gradient_norm" in row]
    assert not [name for row in rows for name in row if name.startswith("speed/")]


def test_speed_is_that_of_the_steps_since_the_last_row() -> None:
    waited = iter([0.0, 0.0, 0.0, 0.0, 0.5, 0.5, 2.5])
    clock = StepClock(lambda: next(waited))
    usage = Usage(RunContext(run_dir=Path(), key="k", name="n", attempt="a"))
    usage.clock = clock
    trainer: Any = SimpleNamespace(callbacks=[usage])
    curves = Curves(batch_size=10)
    assert curves._speed(trainer) == {}
    for now_s in (0.0, 1.0, 2.0, 3.0, 4.0):
        clock.step(now_s)
    first = curves._speed(trainer)
    assert first == {
        "speed/step_s": 1.0,
        "speed/samples_per_s": 10.0,
        "speed/data_wait_share": 0.25,
    }
    for now_s in (8.0, 12.0):
        clock.step(now_s)
    second = curves._speed(trainer)
    assert (second["speed/samples_per_s"], second["speed/data_wait_share"]) == (2.5, 0.25)


class Turns(pl.LightningModule):
    """A loss that is no number at some steps."""

    def __init__(self, at: set[int], *, resets: bool) -> None:
        super().__init__()
        self.weight, self.at, self.resets = torch.nn.Parameter(torch.ones(())), at, resets

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.weight * (float("nan") if batch_idx in self.at else 1.0)

    def configure_optimizers(self) -> SGD:
        return SGD(self.parameters(), lr=0.0)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        if self.resets:
            self.weight.data.fill_(1.0)


def turned(at: set[int], accumulation: int = 1, *, resets: bool = True) -> pl.Trainer:
    loader: Any = torch.utils.data.DataLoader(range(20))  # type: ignore[arg-type]
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=1, logger=False, log_every_n_steps=2,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        accumulate_grad_batches=accumulation, callbacks=[Divergence()],
    )  # fmt: skip
    trainer.fit(Turns(at, resets=resets), loader)
    return trainer


def test_a_training_that_diverged_ends() -> None:
    with pytest.raises(RuntimeError, match=r"the loss is nan since step 8 or shortly before"):
        turned(set(range(6, 20)))


def test_a_training_that_overflows_once_goes_on() -> None:
    assert turned({7, 13}).global_step == 20


def test_weights_that_are_no_numbers_are_no_result() -> None:
    """The last look was before the loss went wrong."""
    with pytest.raises(RuntimeError, match="weights are not finite after step 20: lower"):
        turned({19}, resets=False)


def test_the_micro_batches_of_a_step_overflow_together() -> None:
    # Step 2 of 5 is done with batch 7; the batches 8 to 10 are those of the next one.
    assert turned({7, 8, 9, 10}, accumulation=4).global_step == 5


def test_parameters_without_a_gradient_count_as_none() -> None:
    some, none = torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(2))
    some.grad = torch.tensor([3.0, 4.0])
    groups: list[dict[str, Any]] = [
        {"params": [some]},
        {"params": [none], "name": "idle", "lr": 0.5},
    ]
    optimizer = SGD(groups, lr=0.1)
    assert gradient_norm(optimizer).item() == pytest.approx(5.0)
    assert learning_rates(optimizer) == {"lr/all": 0.1, "lr/idle": 0.5}
