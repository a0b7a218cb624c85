"""The average of the weights: what it is, who sees it, and that it resumes to the bit."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader

from experiments.callbacks import LastCheckpoint
from experiments.models.ema import TRAINED, WeightAverage, averaged
from experiments.models.finetune import frozen_parameters
from experiments.models.losses import displacement
from experiments.models.planning import PlanningModule
from experiments.settings import FinetuneConfig, TrainerConfig
from launcher.errors import ConfigError
from tests.unit.experiments.models import tiny
from tests.unit.experiments.models.tuned import planner

pytestmark = pytest.mark.filterwarnings("ignore:The `srun` command is available")

LAST = FinetuneConfig(policy="last_n", blocks=1)


class Recorded(pl.Callback):
    """Keeps the weights after each optimizer step."""

    def __init__(self) -> None:
        self.weights: list[dict[str, Tensor]] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        if trainer.global_step > len(self.weights):
            own = averaged(pl_module)
            self.weights.append({name: value.detach().clone() for name, value in own.items()})


def validated(module: PlanningModule, folder: Path, **changes: Any) -> ModelCheckpoint:
    """Train for four steps with a validation each other step; return who saved."""
    best = ModelCheckpoint(folder, "best", monitor="val/ade_m")
    arguments = {"max_steps": 4, "val_check_interval": 2, "check_val_every_n_epoch": None}
    callbacks = [*changes.pop("callbacks"), best, LastCheckpoint(folder / "last.ckpt")]
    run = tiny.trainer(
        enable_checkpointing=True, callbacks=callbacks, num_sanity_val_steps=1,
        **(arguments | changes),
    )  # fmt: skip
    run.fit(module, tiny.loader(0, 1, 2, 3, 0, 1, 2, 3), tiny.loader(7))
    return best


def expected_average(
    start: dict[str, Tensor], steps: list[dict[str, Tensor]], average: WeightAverage
) -> dict[str, Tensor]:
    value = {name: v.double() for name, v in start.items()}
    for number, weights in enumerate(steps, 1):
        keep = average.momentum(number)
        value = {n: keep * v + (1 - keep) * weights[n].double() for n, v in value.items()}
    return value


def test_average_keeps_little_of_a_random_start_and_then_its_decay() -> None:
    average = WeightAverage(0.9)
    assert [average.momentum(step) for step in (1, 10, 80, 81, 1000)] == pytest.approx(
        [2 / 11, 11 / 20, 0.9, 0.9, 0.9]
    )


def test_checkpoints_hold_the_average_and_the_module_keeps_its_weights(tmp_path: Path) -> None:
    module = planner(tiny.transfuser(), FinetuneConfig(), lr=1e-2)
    start = {name: value.detach().clone() for name, value in averaged(module).items()}
    average, recorded = WeightAverage(0.5), Recorded()
    validated(module, tmp_path, callbacks=[average, recorded])
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    expected = expected_average(start, recorded.weights, average)
    for name, value in averaged(module).items():
        assert torch.equal(value, recorded.weights[-1][name])
        assert torch.equal(saved[TRAINED][name], value)
        assert saved["state_dict"][name] == pytest.approx(expected[name].float(), abs=1e-5)
    assert any(not torch.equal(saved["state_dict"][n], v) for n, v in saved[TRAINED].items())


def test_what_is_validated_is_what_is_saved(tmp_path: Path) -> None:
    module = planner(tiny.transfuser(), FinetuneConfig(), lr=1e-2)
    best = validated(module, tmp_path, callbacks=[WeightAverage(0.9)])
    loaded = planner(tiny.transfuser(), FinetuneConfig(), seed=9)
    loaded.load_checkpoint(torch.load(best.best_model_path, weights_only=True))
    batch = tiny.batch(seed=7)
    error = displacement(loaded.predict(batch), batch["trajectory"]).mean()
    assert best.best_model_score is not None
    assert best.best_model_score.item() == pytest.approx(error.item(), rel=1e-5)
    other = displacement(module.predict(batch), batch["trajectory"]).mean()
    assert error.item() != pytest.approx(other.item(), rel=1e-5)


def test_accumulated_passes_move_the_average_once_per_optimizer_step(tmp_path: Path) -> None:
    module = planner(tiny.ijepa(), LAST, lr=1e-2)
    start = {name: value.detach().clone() for name, value in averaged(module).items()}
    average, recorded = WeightAverage(0.5), Recorded()
    validated(
        module, tmp_path, callbacks=[average, recorded], max_steps=2, accumulate_grad_batches=2
    )
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    expected = expected_average(start, recorded.weights, average)
    assert len(recorded.weights) == 2
    for name in averaged(module):
        assert saved["state_dict"][name] == pytest.approx(expected[name].float(), abs=1e-5)


def test_frozen_parts_are_in_neither_half_of_a_checkpoint(tmp_path: Path) -> None:
    module = planner(tiny.transfuser(), LAST)
    best = validated(module, tmp_path, callbacks=[WeightAverage(0.9)])
    saved = torch.load(best.best_model_path, weights_only=True)
    assert saved["state_dict"].keys() == module.state_dict().keys()
    assert saved[TRAINED].keys() <= module.state_dict().keys()
    size = sum(p.numel() for p in frozen_parameters(module.backbone))
    kept = sum(value.numel() for value in saved["state_dict"].values())
    assert size + sum(p.numel() for p in module.parameters()) > kept


class Normed(pl.LightningModule):
    """Running statistics, a counter, and a parameter that does not learn."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(2)
        self.fixed = nn.Parameter(torch.zeros(1), requires_grad=False)


def test_running_statistics_are_averaged_and_counters_are_not() -> None:
    assert averaged(Normed()).keys() == {
        "norm.weight",
        "norm.bias",
        "norm.running_mean",
        "norm.running_var",
    }


def test_ranks_validate_the_running_statistics_of_rank_0(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = []
    monkeypatch.setattr(
        "torch.distributed.broadcast", lambda value, src: shared.append((value, src))
    )
    module, average = Normed(), WeightAverage(0.9)
    trainer: Any = SimpleNamespace(global_step=0, world_size=2)
    average.on_train_start(trainer, module)
    average.on_validation_start(trainer, module)
    assert [src for _, src in shared] == [0, 0]
    assert all(value.shape == (2,) and not value.requires_grad for value, _ in shared)


def test_a_training_that_fails_in_a_validation_leaves_its_weights(tmp_path: Path) -> None:
    class Fail(pl.Callback):
        def on_validation_batch_end(self, *args: Any, **kwargs: Any) -> None:
            raise KeyError("in the validation")

    module = planner(tiny.ijepa(), LAST, lr=1e-2)
    recorded = Recorded()
    run = tiny.trainer(
        max_steps=2, val_check_interval=2, num_sanity_val_steps=0,
        callbacks=[WeightAverage(0.9), recorded, Fail()],
    )  # fmt: skip
    with pytest.raises(KeyError):
        run.fit(module, tiny.loader(0, 1), tiny.loader(7))
    for name, value in averaged(module).items():
        assert torch.equal(value, recorded.weights[-1][name])


def test_a_checkpoint_without_an_average_is_not_gone_on_with(tmp_path: Path) -> None:
    module = planner(tiny.ijepa(), LAST)
    tiny.fit(module, max_steps=1, callbacks=[Recorded()]).save_checkpoint(tmp_path / "a.ckpt")
    batches: DataLoader[Any] = tiny.loader(0, 1)
    run = tiny.trainer(max_steps=2, callbacks=[WeightAverage(0.9), Recorded()])
    with pytest.raises(RuntimeError, match="no average of the weights that learn here"):
        run.fit(module, batches, ckpt_path=tmp_path / "a.ckpt", weights_only=True)


def test_an_average_too_coarse_to_move_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"ema_decay=0.99.*bf16-true"):
        TrainerConfig(ema_decay=0.99, precision="bf16-true")
    with pytest.raises(ConfigError, match=r"trainer.ema_decay=1.0` is outside \[0, 1\)"):
        TrainerConfig(ema_decay=1.0)
