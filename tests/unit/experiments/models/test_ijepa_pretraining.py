"""Pretraining learns, its EMA follows optimizer steps, and it resumes exactly."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Trainer

from experiments.models import IJepaPretraining, official_checkpoint
from experiments.models.ijepa_pretraining import feature_std
from experiments.models.ijepa_schedules import learning_rate, momentum, weight_decay
from experiments.settings import PretrainConfig, check_averaging
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
        loss = model.loss(images, model.masks(step, 16), model.targets(images))
        losses.append(tiny.step(optimizer, loss))
        model.update_target(momentum(model.config, step))
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_target_encoder_is_a_copy_that_gets_no_gradient() -> None:
    model = module()
    images = structured(2)
    torch.autograd.backward(model.loss(images, model.masks(0, 2), model.targets(images)))
    assert all(p.grad is None and not p.requires_grad for p in model.target_encoder.parameters())
    learning = [*model.encoder.parameters(), *model.predictor.parameters()]
    assert all(p.grad is not None for p in learning)
    held = [p for g in model.configure_optimizers()["optimizer"].param_groups for p in g["params"]]
    assert {id(p) for p in held} == {id(p) for p in learning}


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


class OneOfMany(Trainer):
    """As much of a Trainer as says which part of a step this rank holds."""

    def __init__(self, rank: int, ranks: int, micro_batches: int) -> None:
        self.place = rank, ranks
        self.accumulate_grad_batches = micro_batches

    @property
    def global_rank(self) -> int:
        return self.place[0]

    @property
    def world_size(self) -> int:
        return self.place[1]


@pytest.mark.parametrize(("ranks", "micro_batches"), [(1, 1), (1, 4), (2, 2), (4, 1)])
def test_an_image_has_one_mask_however_its_step_is_spread(
    ranks: int, micro_batches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = module()
    monkeypatch.setattr(IJepaPretraining, "global_step", 3)
    whole, size = model.masks(3, 8), 8 // (ranks * micro_batches)
    for micro_batch in range(micro_batches):
        for rank in range(ranks):
            trainer = OneOfMany(rank, ranks, micro_batches)
            monkeypatch.setattr(IJepaPretraining, "trainer", trainer)
            own = model._own_masks(3 * micro_batches + micro_batch, size)
            first = (micro_batch * ranks + rank) * size
            assert torch.equal(own.context, whole.context[first : first + size])
            assert torch.equal(own.targets, whole.targets[first : first + size])


def test_steps_have_masks_of_their_own() -> None:
    model = module()
    assert torch.equal(model.masks(3, 4).targets, model.masks(3, 4).targets)
    assert any(
        model.masks(3, 4).context.shape != model.masks(step, 4).context.shape
        or not torch.equal(model.masks(3, 4).context, model.masks(step, 4).context)
        for step in (4, 5, 6)
    )


def test_features_that_are_guessed_exactly_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = module(), structured(4)
    masks, targets = model.masks(0, 4), model.targets(images)
    exact = torch.stack(
        [features[own] for features, own in zip(targets, masks.targets, strict=True)]
    )
    monkeypatch.setattr(model.predictor, "forward", lambda context, masks: exact)
    assert model.loss(images, masks, targets) == 0.0
    assert model.loss(images, masks, targets.flip(0)) > 0.0


def test_each_image_is_predicted_from_its_own_context_and_places() -> None:
    model, images = module(), structured(3)
    masks = model.masks(0, 3)
    together = model.predictor(model.encoder(images, masks.context), masks)
    for i in range(3):
        own = masks.rows(i, 1)
        alone = model.predictor(model.encoder(images[i : i + 1], own.context), own)
        torch.testing.assert_close(together[i], alone[0])


def test_spread_over_micro_batches_the_gradient_is_that_of_the_whole_batch() -> None:
    images = structured(8)
    gradients = []
    for parts in (1, 4):
        model = module()
        masks, targets = model.masks(0, 8), model.targets(images)
        for i in range(parts):
            rows = slice(i * 8 // parts, (i + 1) * 8 // parts)
            own = masks.rows(rows.start, rows.stop - rows.start)
            torch.autograd.backward(model.loss(images[rows], own, targets[rows]) / parts)
        gradients.append(model.encoder.patch_embed.proj.weight.grad)
    torch.testing.assert_close(gradients[0], gradients[1])


def test_collapse_measure_is_zero_only_if_images_look_alike() -> None:
    same = torch.randn(1, 5, 8).expand(4, -1, -1)
    assert feature_std(same) == pytest.approx(0.0, abs=1e-6)
    assert feature_std(torch.randn(256, 5, 8)) == pytest.approx(1.0, abs=0.05)


def test_decay_of_matrices_rises_with_the_steps_and_vectors_never_decay() -> None:
    model = module(steps=4)
    seen: list[list[float]] = []
    plain = model.update_target

    def note(momentum: float) -> None:
        seen.append([group["weight_decay"] for group in model.trainer.optimizers[0].param_groups])
        plain(momentum)

    model.update_target = note  # type: ignore[method-assign]
    tiny.fit(model, num_batches=4, max_steps=4)
    assert [decays[0] for decays in seen] == pytest.approx(
        [weight_decay(model.config, step) for step in range(4)]
    )
    assert [decays[1] for decays in seen] == [0.0] * 4
    decaying, still = model.trainer.optimizers[0].param_groups
    assert all(p.ndim > 1 for p in decaying["params"])
    assert all(p.ndim == 1 for p in still["params"])


def test_learning_rate_of_each_step_is_that_of_the_schedule() -> None:
    model = module(steps=5, warmup_share=0.5)
    schedule = model.configure_optimizers()
    optimizer, scheduler = schedule["optimizer"], schedule["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(5):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([learning_rate(model.config, step) for step in range(5)])


def test_bfloat16_keeps_weights_and_averages_in_float32() -> None:
    model = module(steps=2)
    before = [p.clone() for p in model.target_encoder.parameters()]
    tiny.fit(model, num_batches=2, max_steps=2, precision="bf16-mixed")
    after = list(model.target_encoder.parameters())
    assert {p.dtype for p in after} == {torch.float32}
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))
    assert all(p.isfinite().all() for p in model.parameters())


def test_weights_in_bfloat16_are_refused_because_their_average_stands_still() -> None:
    with pytest.raises(ConfigError, match="precision=bf16-true` stops the target encoder"):
        check_averaging("bf16-true")
    check_averaging("bf16-mixed")
    average, weight = torch.tensor([1.0, 1.5], dtype=torch.bfloat16)
    assert average.lerp(weight, 0.004) == average


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
    released = {"encoder", "predictor", "target_encoder", "opt", "scaler", "epoch", "loss"}
    assert released | {"batch_size", "world_size", "lr"} <= loaded.keys()
    assert loaded["encoder"].keys() == loaded["target_encoder"].keys()
    for part in ("encoder", "predictor", "target_encoder"):
        assert all(name.startswith("module.") for name in loaded[part])
    expected = {"module.patch_embed.proj.weight", "module.pos_embed", "module.norm.bias"}
    assert expected | {"module.blocks.0.attn.qkv.bias"} <= loaded["encoder"].keys()
    assert {"module.mask_token", "module.predictor_proj.weight"} <= loaded["predictor"].keys()


def test_moments_are_kept_where_they_are_asked_for(tmp_path: Path) -> None:
    for keep in (False, True):
        model = module(steps=1, keep_optimizer=keep)
        run = tiny.fit(model, num_batches=1, max_steps=1)
        torch.save(official_checkpoint(model, run), tmp_path / "jepa.pth.tar")
        loaded = torch.load(tmp_path / "jepa.pth.tar", weights_only=True)
        assert math.isfinite(loaded["loss"])
        assert (loaded["opt"] is not None) is keep
    assert len(loaded["opt"]["state"]) == len(run.optimizers[0].state)


def test_predictor_is_the_published_one_whatever_the_encoder_is() -> None:
    block = module().predictor.predictor_blocks[0]
    assert block.mlp.fc1.out_features == 4 * 16
    assert block.norm1.eps == 1e-6


def test_predictor_width_that_heads_cannot_share_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"predictor_dim=18"):
        module(predictor_dim=18)
