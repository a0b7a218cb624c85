"""What all backbones owe to heads, policies and records."""

import json
from dataclasses import replace

import pytest
import torch

from experiments.models import apply_policy, build_backbone
from experiments.models.backbone import Backbone
from experiments.settings import SENSORS_OF, BackboneConfig, FinetuneConfig
from tests.unit.experiments.models import tiny


def build(name: str) -> Backbone:
    if name in ("transfuser", "ltf"):
        config = tiny.transfuser(name=name)
    elif name == "vovnet":
        narrow = {"stage_channels": (8, 16, 16, 16), "osa_channels": (8, 8, 8, 8)}
        rest = {"stem_channels": (8, 8, 8), "osa_layers": 1, "tokens_hw": (1, 6)}
        config = BackboneConfig(name=name, stage_blocks=(1, 1, 1, 1), **narrow, **rest)
    else:
        config = replace(tiny.ijepa(), name=name)
    return build_backbone(config, image_hw=tiny.IMAGE_HW, bev_px=tiny.BEV_PX)


@pytest.mark.parametrize("name", SENSORS_OF)
def test_tokens_are_as_the_spec_says_and_only_its_sensors_are_read(name: str) -> None:
    backbone, batch = build(name).eval(), tiny.batch(2)
    assert backbone.spec.name == name
    assert backbone.spec.sensors == set(SENSORS_OF[name])
    needed = {key: batch[key] for key in (*backbone.spec.sensors, "status")}
    tokens = backbone(needed).tokens
    assert tokens.shape == (2, backbone.spec.num_tokens, backbone.spec.token_dim)
    assert tokens.isfinite().all()


@pytest.mark.parametrize("name", SENSORS_OF)
def test_record_is_plain(name: str) -> None:
    described = build(name).describe()
    assert json.loads(json.dumps(described)) == described
    assert described


@pytest.mark.parametrize("name", SENSORS_OF)
def test_bfloat16_gives_about_the_same_tokens(name: str) -> None:
    backbone, batch = build(name).eval(), tiny.batch(2)
    with torch.no_grad():
        exact = backbone(batch).tokens
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = backbone(batch).tokens.float()
    torch.testing.assert_close(rough, exact, atol=0.15 * max(1.0, float(exact.abs().max())), rtol=0)


@pytest.mark.parametrize("name", [name for name in SENSORS_OF if name != "blind"])
def test_last_block_learns_alone_with_what_lies_behind_it(name: str) -> None:
    backbone = build(name)
    blocks = backbone.blocks()
    learning = apply_policy(FinetuneConfig(policy="last_n", blocks=1), backbone)
    tokens = learning(tiny.batch(2)).tokens
    torch.autograd.backward(tokens.square().mean())
    assert all(p.grad is not None for p in blocks[-1].parameters())
    assert all(p.grad is None for block in blocks[:-1] for p in block.parameters())
