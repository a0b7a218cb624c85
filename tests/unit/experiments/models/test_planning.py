"""The planning module learns, measures in metres, and resumes exactly."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from pytorch_lightning import seed_everything
from torch.utils.data import DataLoader

from experiments.models.losses import displacement, trajectory_loss
from experiments.models.planning import build_planning
from experiments.settings import BackboneConfig, DataConfig, ExperimentConfig
from tests.unit.experiments.models import tiny

# Lightning says so wherever SLURM is installed and a test is not started by it.
pytestmark = pytest.mark.filterwarnings("ignore:The `srun` command is available")

BOTH = [tiny.transfuser(), tiny.ijepa()]


@pytest.mark.parametrize("config", BOTH, ids=lambda c: c.name)
def test_loss_falls_within_thirty_steps(config: BackboneConfig) -> None:
    module = tiny.planning(config, "full", lr=2e-3)
    optimizer, batch = module.configure_optimizers()["optimizer"], tiny.batch(16)
    losses = [
        tiny.step(optimizer, trajectory_loss(module(batch).trajectory, batch["trajectory"]))
        for _ in range(30)
    ]
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize("policy", ["frozen", "full"])
@pytest.mark.parametrize("config", BOTH, ids=lambda c: c.name)
def test_every_trainable_parameter_gets_a_gradient(config: BackboneConfig, policy: str) -> None:
    module = tiny.planning(config, policy)
    batch = tiny.batch(4)
    torch.autograd.backward(trajectory_loss(module(batch).trajectory, batch["trajectory"]))
    without = [n for n, p in module.named_parameters() if p.requires_grad and p.grad is None]
    assert not without


@pytest.mark.parametrize("config", BOTH, ids=lambda c: c.name)
def test_composed_config_with_lists_builds_the_same_module(config: BackboneConfig) -> None:
    data = DataConfig(image_hw=tiny.IMAGE_HW, bev_px=tiny.BEV_PX)
    plain = ExperimentConfig(data=data, backbone=config)
    composed = OmegaConf.to_object(OmegaConf.structured(plain))
    assert isinstance(composed, ExperimentConfig)
    module, same = build_planning(plain), build_planning(composed)
    assert module.backbone.spec == same.backbone.spec
    assert hash(same.backbone.spec) == hash(module.backbone.spec)
    assert same(tiny.batch(2)).trajectory.shape == (2, 8, 3)


def test_headings_are_compared_around_the_circle() -> None:
    predicted, target = torch.zeros(1, 8, 3), torch.zeros(1, 8, 3)
    predicted[..., 2], target[..., 2] = math.radians(179), math.radians(-179)
    assert trajectory_loss(predicted, target) == pytest.approx(5.0 * math.radians(2), rel=1e-4)


def test_loss_and_displacement_are_in_metres() -> None:
    predicted, target = torch.zeros(1, 8, 3), torch.zeros(1, 8, 3)
    predicted[..., 0], predicted[..., 1] = 3.0, -4.0
    assert trajectory_loss(predicted, target) == pytest.approx(7.0)
    assert torch.equal(displacement(predicted, target), torch.full((1, 8), 5.0))


def test_validation_weighs_samples_and_not_batches() -> None:
    module = tiny.planning(tiny.ijepa(), "frozen")
    batches = [tiny.batch(2, seed=1), tiny.batch(6, seed=2)]
    run = tiny.trainer()
    run.validate(module, DataLoader(batches, batch_size=None), verbose=False)  # type: ignore[arg-type]
    errors = torch.cat([displacement(module.predict(b), b["trajectory"]) for b in batches])
    assert run.callback_metrics["val/ade_m"] == pytest.approx(errors.mean().item(), rel=1e-5)
    assert run.callback_metrics["val/fde_m"] == pytest.approx(errors[:, -1].mean().item(), rel=1e-5)
    assert "val/loss" in run.callback_metrics


def test_prediction_uses_evaluation_mode_and_restores_training() -> None:
    module = tiny.planning(tiny.transfuser(), "full").train()
    batch = tiny.batch(4)
    first, second = module.predict(batch), module.predict(batch)
    assert module.training
    assert module.backbone.training
    assert torch.equal(first, second)
    assert first.shape == (4, 8, 3)
    assert first.dtype == torch.float32
    assert first.numpy().shape == (4, 8, 3)


@pytest.mark.parametrize("policy", ["frozen", "full"])
def test_parameters_are_counted_by_what_they_do(policy: str) -> None:
    module = tiny.planning(tiny.ijepa(), policy)
    head = sum(p.numel() for p in module.head.parameters())
    counts = module.parameter_counts()
    assert counts["total"] == counts["trainable"] + counts["frozen"]
    assert (counts["trainable"] == head) == (policy == "frozen")
    assert (counts["frozen"] == 0) == (policy == "full")
    assert counts["total"] == tiny.planning(tiny.ijepa(), "full").parameter_counts()["total"]


@pytest.mark.parametrize(
    ("config", "policy"),
    [(tiny.transfuser(), "full"), (tiny.ijepa(), "frozen")],
    ids=["transfuser", "ijepa"],
)
def test_interrupted_run_ends_bit_identical(
    config: BackboneConfig, policy: str, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {
        "schedule": "cosine",
        "warmup_steps": 2,
        "name": "adamw",
        "weight_decay": 0.01,
    }
    straight = tiny.planning(config, policy, **settings)
    seed_everything(5, verbose=False)
    tiny.fit(straight, num_batches=4, max_steps=4)
    half = tiny.planning(config, policy, **settings)
    seed_everything(5, verbose=False)
    tiny.fit(half, num_batches=4, max_steps=2).save_checkpoint(tmp_path / "half.ckpt")
    random_state = torch.get_rng_state()
    resumed = tiny.planning(config, policy, **settings)
    torch.set_rng_state(random_state)
    tiny.resume(resumed, tmp_path / "half.ckpt", max_steps=4)
    for name, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_checkpoint_of_another_frozen_backbone_is_refused(tmp_path: Path) -> None:
    module = tiny.planning(tiny.ijepa(), "frozen")
    tiny.fit(module, max_steps=1).save_checkpoint(tmp_path / "a.ckpt")
    checkpoint = torch.load(tmp_path / "a.ckpt", weights_only=True)
    same, other = (
        tiny.planning(tiny.ijepa(), "frozen"),
        tiny.planning(tiny.ijepa(), "frozen", seed=3),
    )
    same.load_checkpoint(checkpoint)
    batch = tiny.batch(2)
    assert torch.equal(same.predict(batch), module.predict(batch))
    with pytest.raises(RuntimeError, match="the checkpoint belongs to frozen backbone"):
        other.load_checkpoint(checkpoint)


def test_gradients_are_clipped_without_help_of_the_trainer() -> None:
    norms = {limit: gradient_norm_of_first_step(limit) for limit in (0.0, 0.01)}
    assert norms[0.0] > 0.1
    assert norms[0.01] == pytest.approx(0.01, rel=1e-3)


def gradient_norm_of_first_step(limit: float) -> float:
    module = tiny.planning(tiny.ijepa(), "full", gradient_clip=limit)
    tiny.fit(module, max_steps=1)
    gradients = [p.grad.flatten() for p in module.parameters() if p.grad is not None]
    return float(torch.cat(gradients).norm())


def test_which_windows_a_batch_holds_stays_on_the_host_where_ddp_leaves_it() -> None:
    batch = tiny.batch(2)
    moved = tiny.planning(tiny.transfuser()).transfer_batch_to_device(
        batch, torch.device("meta"), 0
    )
    assert moved.keys() == batch.keys()
    assert isinstance(moved["index"], np.ndarray)  # DDP copies tensors, and waits
    assert moved["index"].tolist() == [0, 1]
    assert {value.device.type for name, value in moved.items() if name != "index"} == {"meta"}
