"""Pretraining learns, its EMA follows optimizer steps, and it resumes exactly."""

from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.models import IJepaPretraining, official_checkpoint
from experiments.models.ijepa_pretraining import feature_std
from experiments.settings import PretrainConfig
from launcher.errors import ConfigError
from tests.unit.experiments.models import tiny

# Lightning says so wherever SLURM is installed and a test is not started by it.
pytestmark = pytest.mark.filterwarnings("ignore:The `srun` command is available")


def module(seed: int = 0, **pretrain: Any) -> IJepaPretraining:
    torch.manual_seed(seed)
    settings: dict[str, Any] = {"steps": 40, "predictor_dim": 16, "predictor_depth": 1, "lr": 3e-3}
    config = tiny.ijepa(pretrain=PretrainConfig(**(settings | pretrain)))
    return IJepaPretraining(config, image_hw=tiny.IMAGE_HW)


def structured(size: int) -> torch.Tensor:
    """Images with a colour gradient each, so that hidden blocks can be guessed."""
    draw = torch.Generator().manual_seed(3)
    slope = torch.rand(size, 3, 1, 1, generator=draw) * 2 - 1
    ramp = (
        torch.linspace(-1, 1, tiny.IMAGE_HW[1]) * torch.linspace(0.5, 1, tiny.IMAGE_HW[0])[:, None]
    )
    return ((slope * ramp * 0.5 + 0.5) * 255).to(torch.uint8)


def test_loss_falls_within_thirty_steps() -> None:
    model, images = module(), structured(16)
    optimizer = model.configure_optimizers()["optimizer"]
    losses = []
    for step in range(30):
        loss = model.loss(images, model.masks(step), model.targets(images))
        losses.append(tiny.step(optimizer, loss))
        model.update_target(model.momentum(step))
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_target_encoder_is_a_copy_that_gets_no_gradient() -> None:
    model = module()
    images = structured(2)
    torch.autograd.backward(model.loss(images, model.masks(0), model.targets(images)))
    assert all(p.grad is None and not p.requires_grad for p in model.target_encoder.parameters())
    learning = [*model.encoder.parameters(), *model.predictor.parameters()]
    assert all(p.grad is not None for p in learning)
    held = [p for g in model.configure_optimizers()["optimizer"].param_groups for p in g["params"]]
    assert {id(p) for p in held} == {id(p) for p in learning}


def test_momentum_rises_linearly_to_one() -> None:
    model = module(steps=10, ema_start=0.9)
    assert [model.momentum(s) for s in (0, 5, 10, 11)] == pytest.approx([0.9, 0.95, 1.0, 1.0])


@pytest.mark.parametrize("accumulate", [1, 3])
def test_ema_moves_once_per_optimizer_step(
    accumulate: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = module(steps=4, ema_start=0.5)
    calls: list[float] = []
    update = model.update_target

    def count(momentum: float) -> None:
        calls.append(momentum)
        update(momentum)

    monkeypatch.setattr(model, "update_target", count)
    tiny.fit(model, num_batches=6, max_steps=2, accumulate_grad_batches=accumulate)
    assert calls == pytest.approx([0.5, 0.625])


def test_ema_is_the_published_average() -> None:
    model = module()
    target = [p.clone() for p in model.target_encoder.parameters()]
    with torch.no_grad():
        for p in model.encoder.parameters():
            p.add_(1.0)
    model.update_target(0.75)
    pairs = zip(model.target_encoder.parameters(), target, strict=True)
    assert all(torch.allclose(p, old + 0.25, atol=1e-6) for p, old in pairs)


def test_micro_batches_of_a_step_share_its_masks() -> None:
    model = module()
    assert torch.equal(model.masks(3).targets, model.masks(3).targets)
    assert any(
        not torch.equal(model.masks(3).context, model.masks(step).context) for step in (4, 5, 6)
    )


def test_collapse_measure_is_zero_only_if_images_look_alike() -> None:
    same = torch.randn(1, 5, 8).expand(4, -1, -1)
    assert feature_std(same) == pytest.approx(0.0, abs=1e-6)
    assert feature_std(torch.randn(256, 5, 8)) == pytest.approx(1.0, abs=0.05)


def test_vectors_do_not_decay() -> None:
    groups = module().configure_optimizers()["optimizer"].param_groups
    decaying, still = groups
    assert decaying["weight_decay"] == 0.05
    assert still["weight_decay"] == 0.0
    assert all(p.ndim > 1 for p in decaying["params"])
    assert all(p.ndim == 1 for p in still["params"])


def test_interrupted_run_ends_bit_identical(tmp_path: Path) -> None:
    straight = module(steps=4)
    tiny.fit(straight, num_batches=4, max_steps=4)
    interrupted = module(steps=4)
    run = tiny.fit(interrupted, num_batches=4, max_steps=2)
    run.save_checkpoint(tmp_path / "half.ckpt")
    resumed = module(seed=9, steps=4)
    tiny.resume(resumed, tmp_path / "half.ckpt", max_steps=4)
    for name, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_official_layout_holds_plain_types_and_reloads_safely(tmp_path: Path) -> None:
    torch.save(official_checkpoint(module()), tmp_path / "jepa.pth.tar")
    loaded = torch.load(tmp_path / "jepa.pth.tar", weights_only=True)
    assert {"encoder", "target_encoder", "predictor", "epoch"} <= loaded.keys()
    assert loaded["encoder"].keys() == loaded["target_encoder"].keys()
    for part in ("encoder", "predictor", "target_encoder"):
        assert all(name.startswith("module.") for name in loaded[part])
    expected = {"module.patch_embed.proj.weight", "module.pos_embed", "module.norm.bias"}
    assert expected | {"module.blocks.0.attn.qkv.bias"} <= loaded["encoder"].keys()
    assert {"module.mask_token", "module.predictor_proj.weight"} <= loaded["predictor"].keys()


def test_predictor_width_that_heads_cannot_share_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"predictor_dim=18"):
        module(predictor_dim=18)
