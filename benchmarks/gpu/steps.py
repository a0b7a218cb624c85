"""A training step of TransFuser with data that lies on the GPU, with and without what slows it.

python benchmarks/gpu/steps.py --out steps.json

The model and losses are those of a training; loaders, Lightning and the launcher are not there.
On one GPU what the project does for speed is taken in one by one. On all GPUs plain DDP is compared
with DDP that divides its buckets by a hook, as trainings do, and NCCL adds up as many bytes as the
gradients have.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "benchmarks")]

import results  # noqa: E402

from experiments.data.augmentation import draw, vary  # noqa: E402
from experiments.models import PlanningModule, build_planning  # noqa: E402
from experiments.models.finetune import whole_backbone  # noqa: E402
from experiments.passes import Passes  # noqa: E402
from experiments.settings import ExperimentConfig, register  # noqa: E402

MODEL = ("backbone=transfuser", "head=transfuser")
WARM_UP = 6


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What of the project's speed is there."""

    name: str
    asks_gpu: bool = False
    """Whether the augmentation asks the GPU which windows these are."""
    is_filled: bool = False
    is_channels_last: bool = True
    is_recorded: bool = False
    is_matched_on_gpu: bool = False


VARIANTS = (
    Variant(name="nothing", asks_gpu=True, is_filled=True, is_channels_last=False),
    Variant(name="+ windows known on the host", is_filled=True, is_channels_last=False),
    Variant(name="+ new tensors not filled", is_channels_last=False),
    Variant(name="+ channels last"),
    Variant(name="+ passes replayed", is_recorded=True),
    Variant(name="+ vehicles matched on the GPU", is_recorded=True, is_matched_on_gpu=True),
)
TRAINING = VARIANTS[-1]
"""What several ranks are measured with."""


class Step(nn.Module):
    """The training step as a forward pass, so that DDP can wrap it."""

    def __init__(self, module: PlanningModule) -> None:
        super().__init__()
        self.module = module
        module.log_dict = _nothing  # type: ignore[method-assign]

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Return the loss."""
        return self.module.training_step(batch)


def _nothing(*_: Any, **__: Any) -> None:
    """There is no Trainer to log to."""


def config_of(scale: str) -> ExperimentConfig:
    """The composed experiment."""
    register()
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        composed = compose("config", overrides=[*MODEL, f"scale={scale}"])
    resolved: Any = OmegaConf.to_container(composed, resolve=True)
    parts = ("backbone", "head", "data", "trainer", "optimizer", "finetune")
    base = OmegaConf.structured(ExperimentConfig)
    found = OmegaConf.to_object(OmegaConf.merge(base, {name: resolved[name] for name in parts}))
    assert isinstance(found, ExperimentConfig)
    return found


def batch_of(config: ExperimentConfig, count: int, device: torch.device) -> dict[str, Tensor]:
    """Noise in the shape of windows."""
    (height, width), edge = config.data.image_hw, config.data.bev_px
    batch = {
        "image": torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8),
        "lidar": torch.rand(count, 1, edge, edge),
        "status": torch.randn(count, 8),
        "trajectory": torch.randn(count, 8, 3),
        "bev_semantics": torch.randint(0, 7, (count, edge // 2, edge), dtype=torch.uint8),
        "agent_states": 10 * torch.randn(count, 30, 5),
        "agent_labels": torch.rand(count, 30) > 0.5,
    }
    return {name: value.to(device) for name, value in batch.items()}


def wait(device: torch.device) -> None:
    """Until all that was launched is done."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def prepared(variant: Variant, config: ExperimentConfig, device: torch.device) -> Step:
    """The step of a model with random weights."""
    torch.use_deterministic_algorithms(True)
    torch._C._set_deterministic_fill_uninitialized_memory(variant.is_filled)
    torch.manual_seed(0)
    module = build_planning(config).to(device).train()
    if variant.is_channels_last:
        module.backbone.to(memory_format=torch.channels_last)
    module.head.agent_losses.matches_on_gpu = variant.is_matched_on_gpu
    if variant.is_recorded:
        module.run = whole_backbone(module.backbone).run = Passes()
    return Step(module)


def learn(
    model: nn.Module, optimizer: Optimizer, batch: dict[str, Tensor], factors: Tensor
) -> None:
    """One step, from images in the light of `factors`."""
    image = vary(batch["image"], factors)
    # Not cached, as in a Trainer.
    with torch.autocast(image.device.type, torch.bfloat16, cache_enabled=False):
        loss = model({**batch, "image": image})
    optimizer.zero_grad()  # here, as Lightning does
    loss.backward()
    optimizer.step()


def step_ms(variant: Variant, arguments: Any, device: torch.device, wrap: Any) -> float:
    """Mean time of a step [ms]."""
    config = config_of(arguments.scale)
    step = prepared(variant, config, device)
    model, optimizer = wrap(step), torch.optim.Adam(step.parameters(), lr=1e-4)
    batch = batch_of(config, arguments.windows, device)
    windows = torch.arange(arguments.windows)
    windows = windows.to(device) if variant.asks_gpu else windows
    began = 0.0
    for number in range(WARM_UP + arguments.steps):
        if number == WARM_UP:
            wait(device)
            began = time.perf_counter()
        learn(model, optimizer, batch, draw(0, number, windows))
    wait(device)
    return 1e3 * (time.perf_counter() - began) / arguments.steps


def summed_ms(count: int, device: torch.device) -> float:
    """Time in which all ranks add up so many numbers of float32 [ms]."""
    numbers = torch.ones(count, device=device)
    for rounds in (5, 20):
        wait(device)
        began = time.perf_counter()
        for _ in range(rounds):
            dist.all_reduce(numbers)
        wait(device)
    return 1e3 * (time.perf_counter() - began) / rounds


def rank(number: int, ranks: int, arguments: Any, told: Any) -> None:
    """One of several ranks; the first tells what it measured."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(arguments.port)}
    is_cuda = arguments.device == "cuda"
    torch.set_num_threads(max(len(os.sched_getaffinity(0)) // ranks, 1))
    device = torch.device(arguments.device, number if is_cuda else None)
    if is_cuda:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if is_cuda else "gloo", rank=number, world_size=ranks)
    devices = [number] if is_cuda else None

    def plain(step: nn.Module) -> DistributedDataParallel:
        return DistributedDataParallel(
            step, device_ids=devices, gradient_as_bucket_view=True, broadcast_buffers=False
        )

    def hooked(step: nn.Module) -> DistributedDataParallel:
        model = plain(step)
        model.register_comm_hook(None, allreduce_hook)
        return model

    found = {
        f"{ranks} ranks, DDP": step_ms(TRAINING, arguments, device, plain),
        f"{ranks} ranks, DDP that divides buckets, as in trainings": step_ms(
            TRAINING, arguments, device, hooked
        ),
    }
    count = sum(p.numel() for p in build_planning(config_of(arguments.scale)).parameters())
    found[f"{ranks} ranks add up {4 * count / 1e6:.0f} MB"] = summed_ms(count, device)
    if number == 0:
        told.put(found)
    dist.destroy_process_group()


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda", choices=("cpu", "cuda"))
    parser.add_argument("--scale", default="paper")
    parser.add_argument("--windows", type=int, default=64, help="of a step on each GPU")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--ranks", type=int, nargs="*", default=None, help="2 4; all GPUs")
    parser.add_argument("--last", type=int, default=len(VARIANTS), help="so many variants only")
    parser.add_argument("--port", type=int, default=29517)
    parser.add_argument("--out", type=Path, default=None, help="file for the figures, as JSON")
    arguments = parser.parse_args()
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    if arguments.device == "cuda":
        results.require_gpus(max(arguments.ranks or [1]), "see --device cpu and --scale tiny")
    here, found = torch.device(arguments.device), {}
    for variant in VARIANTS[-arguments.last :]:
        found[f"1 rank, {variant.name}"] = step_ms(variant, arguments, here, nn.Identity())
        print(f"{found[f'1 rank, {variant.name}']:8.1f} ms  {variant.name}", flush=True)
    there = torch.cuda.device_count()
    counts = arguments.ranks if arguments.ranks is not None else [there] * (there > 1)
    told = torch.multiprocessing.get_context("spawn").SimpleQueue()
    for count in counts:
        spawn(rank, (count, arguments, told), nprocs=count)
        measured = told.get()
        for name, ms in measured.items():
            print(f"{ms:8.1f} ms  {name}", flush=True)
        found |= measured
    results.save(arguments.out, "steps", {"windows": arguments.windows, "ms": found})


if __name__ == "__main__":
    main()
