"""Latent TransFuser reads no LiDAR and learns a map in its place."""

import torch

from experiments.models import build_backbone
from experiments.models.transfuser import TransFuser
from tests.unit.experiments.models import tiny


def latent() -> TransFuser:
    model = build_backbone(tiny.transfuser(name="ltf"), image_hw=tiny.IMAGE_HW, bev_px=64)
    assert isinstance(model, TransFuser)
    return model


def test_it_works_without_a_lidar_and_ignores_one() -> None:
    model, batch = latent().eval(), tiny.batch(2)
    blind_to_lidar = {"image": batch["image"]}
    assert model.spec.sensors == {"image"}
    assert torch.equal(model.encode(blind_to_lidar).tokens, model.encode(batch).tokens)


def test_the_map_in_place_of_the_lidar_is_learnt_and_shared_by_all_samples() -> None:
    model = latent()
    assert model.latent is not None
    assert model.latent.shape == (1, 1, 64, 64)
    torch.autograd.backward(model(tiny.batch(2)).tokens.square().mean())
    assert model.latent.grad is not None
    assert model.latent.grad.abs().sum() > 0


def test_two_images_are_told_apart() -> None:
    model, batch = latent().eval(), tiny.batch(1)
    dark = {"image": torch.zeros_like(batch["image"])}
    assert not torch.allclose(model.encode(batch).tokens, model.encode(dark).tokens, atol=1e-3)
