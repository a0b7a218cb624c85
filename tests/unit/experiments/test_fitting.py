"""Loaders: who reads, with how many processes, and what those hold. What a Trainer is given."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.utils.data import TensorDataset

from experiments import callbacks, fitting, profiling
from experiments.agreement import weights_sha
from experiments.models.ema import TRAINED
from experiments.models.losses import displacement
from experiments.settings import (
    BackboneConfig,
    DataConfig,
    ExperimentConfig,
    FinetuneConfig,
    OptimizerConfig,
    TrainerConfig,
    recipe_deviations,
)
from launcher.context import RunContext
from launcher.errors import ConfigError
from tests.unit.experiments.models import tiny
from tests.unit.experiments.models.tuned import planner

pytestmark = pytest.mark.filterwarnings("ignore:The `srun` command is available")

SAMPLES = TensorDataset(torch.arange(11))


def context(rank: int = 0) -> RunContext:
    return RunContext(run_dir=Path(), key="k", name="n", attempt="a", rank=rank, ranks_per_node=2)


@pytest.mark.parametrize(
    ("data", "workers"),
    [
        (DataConfig(num_workers=3), 3),
        (DataConfig(num_workers=3, val_num_workers=1), 1),
        (DataConfig(num_workers=3, val_num_workers=0), 0),
    ],
)
def test_validation_has_as_many_workers_as_training_unless_told(
    data: DataConfig, workers: int
) -> None:
    assert fitting.validation_loader(SAMPLES, data, context(), 11, 4).num_workers == workers


def test_validation_workers_persist_when_asked_and_there_are_any() -> None:
    asked = DataConfig(num_workers=1, persistent_workers=True)
    none = DataConfig(num_workers=1, val_num_workers=0, persistent_workers=True)
    kept = [
        fitting.validation_loader(SAMPLES, data, context(), 11, 4).persistent_workers
        for data in (asked, none, DataConfig(num_workers=1))
    ]
    assert kept == [True, False, False]


def test_ranks_validate_each_sample_once_and_hold_their_share_as_an_array() -> None:
    seen = []
    for rank in (0, 1):
        loader = fitting.validation_loader(SAMPLES, DataConfig(), context(rank), 11, 4)
        assert isinstance(loader.dataset.indices, np.ndarray)  # type: ignore[attr-defined]
        seen += [int(n) for (batch,) in loader for n in batch]
    assert sorted(seen) == list(range(11))


# ---- length -----------------------------------------------------------------------------------


def warmed(kind: str) -> ExperimentConfig:
    recipe = {"schedule": "cosine", "warmup_steps": 100}
    return ExperimentConfig(
        data=DataConfig(budget=kind),
        backbone=BackboneConfig(optimizer=OptimizerConfig(**recipe)),  # type: ignore[arg-type]
        optimizer=OptimizerConfig(**recipe),  # type: ignore[arg-type]
        trainer=TrainerConfig(max_steps=1000),
    )


def test_equal_epochs_shorten_training_and_warm_up_alike_and_are_no_deviation() -> None:
    config = fitting.within_budget(warmed("epochs"), 1000, 10_000)
    assert (config.trainer.max_steps, config.optimizer.warmup_steps) == (100, 10)
    assert recipe_deviations(config) == []
    assert fitting.within_budget(warmed("steps"), 1000, 10_000) == warmed("steps")


# ---- the Trainer ------------------------------------------------------------------------------


def alone(run_dir: Path) -> RunContext:
    return RunContext(run_dir=run_dir, key="k", name="n", attempt="001-000")


def fitted(
    run_dir: Path, config: TrainerConfig, callbacks: Sequence[pl.Callback] = ()
) -> tuple[Any, Any]:
    """Train a tiny planner as the task does; returns its module and Trainer."""
    torch.set_num_threads(1)
    planned = planner(tiny.ijepa(), FinetuneConfig(policy="last_n", blocks=1), lr=1e-2)
    folder = fitting.checkpoint_dir(run_dir)
    best = ModelCheckpoint(folder, "best", monitor="val/ade_m", enable_version_counter=False)
    trainer = fitting.trainer(config, alone(run_dir), callbacks=[best, *callbacks], validate=True)
    trainer.fit(planned, tiny.loader(*range(config.max_steps)), tiny.loader(7))
    return planned, trainer


def test_training_leaves_its_best_and_its_last_weights_both_averaged(tmp_path: Path) -> None:
    config = TrainerConfig(
        max_steps=5, val_every_steps=2, batch_size=8, ema_decay=0.9, log_every_steps=2
    )
    module, _ = fitted(tmp_path, config)
    last = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    best = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)
    assert (last["global_step"], best["global_step"] <= 4) == (5, True)
    own = module.state_dict()
    for saved in (last, best):
        assert saved["state_dict"].keys() == own.keys()
        assert any(not torch.equal(saved["state_dict"][n], v) for n, v in saved[TRAINED].items())
    assert all(torch.equal(own[name], value) for name, value in last[TRAINED].items())


class Seen(pl.Callback):
    """What a step is made of."""

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, *args: Any) -> None:
        self.trajectory = batch["trajectory"].clone()
        self.backbone = {p.dtype for p in pl_module.backbone.whole.parameters()}
        self.head = {p.dtype for p in pl_module.head.parameters()}


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_low_precision_rounds_weights_and_never_what_is_learnt_from(
    precision: str, tmp_path: Path
) -> None:
    config = TrainerConfig(max_steps=2, val_every_steps=2, batch_size=8, precision=precision)
    seen = Seen()
    module, trainer = fitted(tmp_path, config, callbacks=[seen])
    # Frozen parameters follow, though no module has them.
    assert seen.backbone == {torch.bfloat16 if precision == "bf16-true" else torch.float32}
    assert seen.head == {torch.float32}
    assert torch.equal(seen.trajectory, tiny.batch(seed=1)["trajectory"])
    batch = tiny.batch(seed=7)
    error = displacement(module.predict(batch), batch["trajectory"]).mean().item()
    assert trainer.callback_metrics["val/ade_m"].item() == pytest.approx(error, rel=0.02)


def test_fp16_on_cpu_is_refused_with_what_works(tmp_path: Path) -> None:
    config = TrainerConfig(batch_size=8, precision="16-mixed")
    with pytest.raises(ConfigError, match="16-mixed` needs a GPU") as e:
        fitting.trainer(config, alone(tmp_path), callbacks=[], validate=True)
    assert "bf16-mixed" in str(e.value.hint)
    with pytest.raises(ConfigError, match=r"trainer\.precision=fp16` is not known"):
        TrainerConfig(precision="fp16")


def test_compiled_parts_are_called_and_keep_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[Any] = []

    def pretend(function: Any, **_: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            compiled.append(function.__self__)
            return function(*args, **kwargs)

        return call

    monkeypatch.setattr(torch, "compile", pretend)
    config = TrainerConfig(max_steps=1, val_every_steps=1, batch_size=8, compile=True)
    module, _ = fitted(tmp_path, config)
    assert {id(part) for part in compiled} == {id(module.backbone.whole), id(module.head)}
    saved = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)
    assert saved["state_dict"].keys() == module.state_dict().keys()
    assert not [name for name in saved["state_dict"] if "_orig_mod" in name]


def test_what_only_pretrains_has_no_average_and_no_last_checkpoint(tmp_path: Path) -> None:
    config = TrainerConfig(batch_size=8, ema_decay=0.9)
    trainer = fitting.trainer(config, alone(tmp_path), callbacks=[], validate=False)
    kinds = {type(callback).__name__ for callback in trainer.callbacks}  # type: ignore[attr-defined]
    assert "Curves" in kinds
    assert not kinds & {"WeightAverage", "LastCheckpoint", "Compiled"}


def test_convolutions_with_channels_last_are_the_same_model_for_all_that_reads_it(
    tmp_path: Path,
) -> None:
    plain, laid_out = (tiny.planning(tiny.transfuser()) for _ in range(2))
    callbacks.ChannelsLast().setup(tiny.trainer(), laid_out, "fit")
    torch.testing.assert_close(laid_out.predict(tiny.batch()), plain.predict(tiny.batch()))
    trainer = tiny.fit(laid_out, max_steps=2)
    kernel = laid_out.backbone.image.conv1.weight  # type: ignore[union-attr]
    assert kernel.is_contiguous(memory_format=torch.channels_last)
    assert not kernel.is_contiguous()
    trainer.save_checkpoint(tmp_path / "laid-out.ckpt")
    other = tiny.planning(tiny.transfuser(), seed=1)
    fitting.load_planner(other, tmp_path / "laid-out.ckpt")
    assert weights_sha(other) == weights_sha(laid_out)


def test_encoders_without_convolutions_keep_their_layout() -> None:
    module = tiny.planning(tiny.ijepa())
    callbacks.ChannelsLast().setup(tiny.trainer(), module, "fit")
    assert all(p.is_contiguous() for p in module.parameters())


def test_only_gpus_get_channels_last(tmp_path: Path) -> None:
    trainer = fitting.trainer(
        TrainerConfig(batch_size=8), alone(tmp_path), callbacks=[], validate=True
    )
    kinds = {type(callback).__name__ for callback in trainer.callbacks}  # type: ignore[attr-defined]
    assert "ChannelsLast" not in kinds


def test_a_profile_is_taken_of_the_steps_that_were_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profiling, "SKIPPED", 3)
    config = TrainerConfig(max_steps=6, val_every_steps=6, batch_size=8, profile_steps=2)
    fitted(tmp_path, config)
    with gzip.open(tmp_path / "profile" / "rank-0.json.gz") as file:
        events = json.load(file)["traceEvents"]
    assert sum(event["name"].startswith("Optimizer.step") for event in events) == 2
    assert "aten::" in (tmp_path / "profile" / "rank-0.txt").read_text()


def test_a_training_shorter_than_its_profile_leaves_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profiling, "SKIPPED", 3)
    config = TrainerConfig(max_steps=5, val_every_steps=5, batch_size=8, profile_steps=50)
    fitted(tmp_path, config)
    assert (tmp_path / "profile" / "rank-0.json.gz").stat().st_size > 1000


@pytest.mark.parametrize("steps", [2, 18])
def test_a_training_that_never_comes_to_its_profile_says_so(
    steps: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = TrainerConfig(max_steps=steps, val_every_steps=steps, batch_size=8, profile_steps=2)
    fitted(tmp_path, config)
    assert "no step was traced: the training ended before its step 21" in caplog.text
    assert not (tmp_path / "profile").exists()
