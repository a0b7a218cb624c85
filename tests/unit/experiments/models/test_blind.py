"""The blind control sees nothing: only the head has parameters, only the status matters."""

import pytest
import torch

from experiments.models import build_backbone
from experiments.settings import BackboneConfig
from launcher.errors import ConfigError
from tests.unit.experiments.models import tiny

BLIND = BackboneConfig(name="blind")


def test_it_has_no_parameters_and_reads_no_sensor() -> None:
    model = build_backbone(BLIND, image_hw=tiny.IMAGE_HW, bev_px=64)
    tokens = model({"status": tiny.batch(3)["status"]}).tokens
    assert list(model.parameters()) == model.blocks() == []
    assert model.spec.sensors == frozenset()
    assert torch.equal(tokens, torch.zeros(3, 1, 1))


def test_the_plan_depends_on_the_status_and_on_no_sensor() -> None:
    module = tiny.planning(BLIND).eval()
    batch = tiny.batch(2)
    other = tiny.batch(2, seed=9)
    plan = module(batch).trajectory
    assert torch.equal(plan, module({"status": batch["status"]}).trajectory)
    assert torch.equal(plan, module(other | {"status": batch["status"]}).trajectory)
    faster = batch["status"].clone()
    faster[:, 4] += 5.0
    assert not torch.allclose(plan, module({"status": faster}).trajectory)


def test_only_the_head_learns() -> None:
    module = tiny.planning(BLIND)
    counts = module.parameter_counts()
    assert (
        counts["trainable"] == counts["total"] == sum(p.numel() for p in module.head.parameters())
    )


def test_weights_for_it_are_refused() -> None:
    with pytest.raises(ConfigError, match="the blind backbone has no weights"):
        BackboneConfig(name="blind", weights="some.pth", weights_format="timm")
