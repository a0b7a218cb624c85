"""Each way of training is stopped by the launcher, goes on, and ends bit-identical."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from experiments.callbacks import Bf16Backbone
from experiments.models.ema import WeightAverage
from experiments.models.finetune_guard import PolicyGuard
from experiments.settings import BackboneConfig, FinetuneConfig
from launcher import context, stopping
from launcher.context import RunContext
from launcher.settings import RecoveryConfig
from launcher.stopping import RunStopped
from tests.unit.experiments.models import tiny
from tests.unit.experiments.models.tuned import planner

pytestmark = pytest.mark.filterwarnings("ignore:The `srun` command is available")

LAST = FinetuneConfig(policy="last_n", blocks=1, lr_scale=0.1)
DECAY = FinetuneConfig(policy="layerwise_decay")
WAYS: dict[str, tuple[BackboneConfig, FinetuneConfig, float, dict[str, Any]]] = {
    "average, full, cosine": (
        tiny.transfuser(),
        FinetuneConfig(lr_scale=0.5),
        0.9,
        {"schedule": "cosine", "warmup_steps": 2, "min_lr_share": 0.1},
    ),
    "average, last block, sgd, linear": (
        tiny.ijepa(),
        LAST,
        0.99,
        {"name": "sgd", "schedule": "linear"},
    ),
    "decayed rates, step": (
        tiny.ijepa(),
        DECAY,
        0.0,
        {"name": "adamw", "weight_decay": 0.1, "schedule": "step", "milestones": (0.1,)},
    ),
    "last block in bfloat16, one cycle": (
        tiny.ijepa(),
        LAST,
        0.0,
        {"schedule": "one_cycle"},
    ),
}
STEPS = 4


class StopAt(pl.Callback):
    """Asks to stop after an optimizer step, or in the validation that follows it."""

    def __init__(self, step: int, *, validating: bool) -> None:
        self.step, self.validating = step, validating

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        if not self.validating and trainer.global_step == self.step:
            stopping.request("TEST")

    def on_validation_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        if self.validating and trainer.global_step == self.step:
            stopping.request("TEST")


def live(way: str, folder: Path, stop: StopAt | None = None) -> dict[str, Tensor] | None:
    """One life; returns all that it leaves, or None where it was stopped."""
    backbone, policy, ema, recipe = WAYS[way]
    stopping.clear()
    number = len(list(folder.glob("life-*")))
    (folder / f"life-{number}").mkdir(parents=True)
    context.enter(
        RunContext(
            run_dir=folder,
            key="k",
            name="n",
            attempt=f"001-{number:03d}",
            recovery=RecoveryConfig(checkpoint_every_steps=1),
        )
    )
    pl.seed_everything(3, verbose=False)
    module = planner(backbone, policy, lr=1e-2, **recipe)
    module.max_steps = STEPS
    average = WeightAverage(ema) if ema else None
    half = Bf16Backbone() if "bfloat16" in way else None
    callbacks = [c for c in (PolicyGuard(), average, half, stop) if c is not None]
    run = tiny.trainer(
        max_steps=STEPS, callbacks=callbacks, num_sanity_val_steps=0,
        precision="bf16-mixed" if half else "32-true",
        val_check_interval=2, check_val_every_n_epoch=None,
    )  # fmt: skip
    try:
        run.fit(module, tiny.loader(*range(STEPS)), tiny.loader(7, 8))
    except RunStopped:
        return None
    finally:
        context.enter(None)
        stopping.clear()
    left = {f"weights/{name}": value for name, value in module.state_dict().items()}
    for state in run.optimizers[0].state_dict()["state"].items():
        for name, value in state[1].items():
            left[f"optimizer/{state[0]}/{name}"] = torch.as_tensor(value)
    for name, value in run.callback_metrics.items():
        left[f"metrics/{name}"] = value
    return left


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """How each way ends when nothing happens; asked for within a test, which has one thread."""

    @cache
    def end(way: str) -> Any:
        return live(way, tmp_path_factory.mktemp("undisturbed"))

    return end


@pytest.mark.parametrize(
    ("way", "step", "validating"),
    [(way, 3, False) for way in WAYS] + [(way, 2, True) for way in WAYS if WAYS[way][2]],
)
def test_a_stop_changes_nothing(
    way: str, step: int, validating: bool, undisturbed: Callable[[str], Any], tmp_path: Path
) -> None:
    assert live(way, tmp_path, StopAt(step, validating=validating)) is None
    left, expected = live(way, tmp_path), undisturbed(way)
    assert left is not None
    assert left.keys() == expected.keys()
    assert [name for name in left if not torch.equal(left[name], expected[name])] == []
