"""A training whose passes are replayed ends with the weights of one whose passes are not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from experiments import fitting, passes
from experiments.callbacks import ChannelsLast, Recorded
from experiments.models import PlanningModule, build_planning
from experiments.models.ema import WeightAverage
from experiments.settings import (
    BackboneConfig,
    DataConfig,
    ExperimentConfig,
    FinetuneConfig,
    HeadConfig,
    TrainerConfig,
)
from launcher.callbacks.streams import OneStream
from tests.unit.experiments.models import tiny

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
NUM_BATCHES = 8
SIZES = {"dim": 16, "num_heads": 2, "ffn_dim": 32, "num_layers": 1, "dropout": 0.1}
GPU = {"accelerator": "gpu", "devices": 1, "deterministic": True}


@pytest.fixture(autouse=True)
def _deterministic(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    yield
    torch.use_deterministic_algorithms(False)


def module_of(backbone: BackboneConfig | None = None, policy: str = "full") -> PlanningModule:
    torch.manual_seed(0)
    return build_planning(
        ExperimentConfig(
            data=DataConfig(image_hw=tiny.IMAGE_HW, bev_px=tiny.BEV_PX),
            backbone=backbone or tiny.transfuser(auxiliary="navsim", bev_channels=8),
            head=HeadConfig(name="transfuser", **SIZES),
            finetune=FinetuneConfig(policy=policy, blocks=2),
            trainer=TrainerConfig(max_steps=NUM_BATCHES),
        )
    )


def batch(seed: int, size: int = 4) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return {
        **tiny.batch(size, seed=seed),
        "bev_semantics": torch.randint(0, 7, (size, 32, 64), generator=draw).to(torch.uint8),
        "agent_states": 10 * torch.randn(size, 30, 5, generator=draw),
        "agent_labels": torch.rand(size, 30, generator=draw) > 0.5,
    }


class Replays(pl.Callback):
    """Counts how often recordings went forward."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch | None) -> None:
        self.count = 0
        original = passes._Recording.forward

        def counted(recording: Any, inputs: Any) -> Any:
            self.count += 1
            return original(recording, inputs)

        if monkeypatch is not None:
            monkeypatch.setattr(passes._Recording, "forward", counted)


def trained(
    module: PlanningModule,
    *callbacks: pl.Callback,
    is_recorded: bool,
    sizes: tuple[int, ...] = (4,) * NUM_BATCHES,
    first_seed: int = 0,
    **arguments: Any,
) -> dict[str, Tensor]:
    """Weights, statistics and the next random number at the end."""
    torch.manual_seed(7)
    added = [Recorded()] if is_recorded else []
    trainer = tiny.trainer(
        **(GPU | {"max_epochs": 1} | arguments),
        callbacks=[ChannelsLast(), *added, *callbacks],
    )
    batches = [batch(seed, size) for seed, size in enumerate(sizes, first_seed)]
    loader: Any = torch.utils.data.DataLoader(batches, batch_size=None, pin_memory=True)
    trainer.fit(module, loader)
    after = torch.randn(3, device="cuda").cpu()
    return {**{name: v.cpu() for name, v in module.state_dict().items()}, "after": after}


def assert_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    differing = [name for name, value in first.items() if not torch.equal(value, second[name])]
    assert not differing


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_weights_are_equal_to_the_bit(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = trained(module_of(), is_recorded=False, precision=precision)
    replays = Replays(monkeypatch)
    assert_same(trained(module_of(), is_recorded=True, precision=precision), expected)
    assert replays.count == (NUM_BATCHES - 1) * 8  # stems, 4 stages, top, head and map


def test_gradients_add_up_over_micro_batches() -> None:
    how = {"accumulate_grad_batches": 4, "precision": "bf16-mixed"}
    expected = trained(module_of(), is_recorded=False, **how)
    assert_same(trained(module_of(), is_recorded=True, **how), expected)


def test_each_shape_has_a_recording() -> None:
    sizes = (4, 4, 4, 2, 2, 2, 4, 2)
    expected = trained(module_of(), is_recorded=False, sizes=sizes)
    assert_same(trained(module_of(), is_recorded=True, sizes=sizes), expected)


@pytest.mark.parametrize("policy", ["last_n", "frozen", "full"])
def test_backbones_that_learn_in_part(policy: str) -> None:
    ltf = tiny.transfuser(name="ltf")
    expected = trained(module_of(ltf, policy), is_recorded=False)
    assert_same(trained(module_of(ltf, policy), is_recorded=True), expected)


def test_weights_that_moved_are_recorded_again() -> None:
    class Moves(pl.Callback):
        def on_train_batch_start(
            self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
        ) -> None:
            if trainer.global_step == 4:
                for parameter in pl_module.parameters():
                    parameter.data = parameter.data.clone()

    expected = trained(module_of(), Moves(), is_recorded=False)
    assert_same(trained(module_of(), Moves(), is_recorded=True), expected)


def test_averaged_weights_are_those_of_a_training_without_recordings() -> None:
    expected = trained(module_of(), WeightAverage(0.9), is_recorded=False)
    assert_same(trained(module_of(), WeightAverage(0.9), is_recorded=True), expected)


class Tupled(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.Linear(4, 4)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.inner(x),)


def test_going_back_after_another_run_is_an_error_and_not_a_wrong_gradient() -> None:
    part, run = Tupled().cuda(), passes.Passes()
    x = torch.randn(2, 4, device="cuda", requires_grad=True)
    run(part, x)
    (first,), (_,) = run(part, x), run(part, x)
    with pytest.raises(RuntimeError, match="forward twice"):
        torch.autograd.backward(first.sum())


def _rank(rank: int, is_recorded: bool, accumulation: int, folder: str) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29531", "WORLD_SIZE": "2"}
    os.environ |= {"NODE_RANK": "0", "LOCAL_RANK": str(rank), "RANK": str(rank)}
    how = {"devices": 2, "strategy": fitting.ddp(), "use_distributed_sampler": False}
    found = trained(
        module_of(), OneStream(), is_recorded=is_recorded, first_seed=100 * rank,
        precision="bf16-mixed", accumulate_grad_batches=accumulation, **how,
    )  # fmt: skip
    torch.save(found, Path(folder, f"{is_recorded}-{rank}.pt"))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are no two GPUs here")
@pytest.mark.parametrize("accumulation", [1, 2])
def test_two_ranks_exchange_the_same_gradients(accumulation: int, tmp_path: Path) -> None:
    for is_recorded in (False, True):
        spawn(_rank, (is_recorded, accumulation, str(tmp_path)), nprocs=2)
    for rank in (0, 1):
        expected, found = (
            torch.load(tmp_path / f"{is_recorded}-{rank}.pt") for is_recorded in (False, True)
        )
        assert_same(found, expected)
