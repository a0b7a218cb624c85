"""Instantiated at paper size, models have the published numbers of parameters, part by part."""

from dataclasses import replace
from typing import Any

import pytest
import timm
import torch
from hydra import compose, initialize_config_dir
from torch import nn

from experiments.models import build_backbone, build_head
from experiments.models.backbone import Backbone
from experiments.models.heads.transfuser import TransFuserHead
from experiments.models.transfuser import TransFuser
from experiments.models.transfuser_fusion import FusionTransformer
from experiments.settings import ExperimentConfig, from_config, register
from tests.programs import REPOSITORY


def count(module: nn.Module | None) -> int:
    return sum(p.numel() for p in module.parameters()) if module else 0


def composed(*overrides: str) -> ExperimentConfig:
    register()
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        return from_config(compose("config", ["scale=paper", *overrides]))


def at_paper_size(*overrides: str) -> Backbone:
    """The backbone of conf/ without memory for its weights."""
    config = composed(*overrides)
    plain = replace(config.backbone, weights="none")
    with torch.device("meta"):
        return build_backbone(plain, image_hw=config.data.image_hw, bev_px=config.data.bev_px)


def planner(name: str) -> tuple[TransFuser, TransFuserHead]:
    """`backbone=<name> head=transfuser scale=paper`."""
    choice = (f"backbone={name}", "head=transfuser")
    backbone = at_paper_size(*choice)
    with torch.device("meta"):
        head = build_head(composed(*choice).head, backbone.spec)
    assert isinstance(backbone, TransFuser)
    assert isinstance(head, TransFuserHead)
    return backbone, head


def test_transfuser_is_composed_of_the_published_55_97_million() -> None:
    backbone, head = planner("transfuser")
    widths = (64, 128, 256, 512)
    transformers = sum(count(m) for m in backbone.modules() if isinstance(m, FusionTransformer))
    parts = {
        "image ResNet-34": (count(backbone.image), 21.28),
        "LiDAR ResNet-34, one channel in": (count(backbone.lidar), 21.28),
        "fusion transformers": (transformers, 8.69),
        "1 x 1 convolutions between the branches": (count(backbone.fusions) - transformers, 0.70),
        "top-down maps": (count(backbone.top_down), 0.11),
        "semantic head": (count(backbone.semantics), 0.04),
        "token and status embedding": (count(head.narrow) + count(head.status), 0.13),
        "positions and queries": (head.token_positions.numel() + head.queries.numel(), 0.02),
        "decoder of three layers": (count(head.decoder), 3.16),
        "trajectory head": (count(head.plan), 0.29),
        "agent heads": (count(head.boxes) + count(head.is_vehicle), 0.27),
    }
    for part, (instantiated, published) in parts.items():
        assert instantiated / 1e6 == pytest.approx(published, abs=0.006), part
    between = 2 * sum(width * width + width for width in widths)
    assert parts["1 x 1 convolutions between the branches"][0] == between
    total = count(backbone) + count(head)
    assert total == sum(instantiated for instantiated, _ in parts.values()) == 55_970_149


def test_latent_transfuser_adds_one_histogram_of_parameters() -> None:
    backbone, head = planner("ltf")
    assert count(backbone) + count(head) == 55_970_149 + 256 * 256 == 56_035_685


def test_vovnet_99_is_the_69_52_million_of_gtrs_with_attention_in_every_block() -> None:
    every = at_paper_size("backbone=vovnet")
    last = at_paper_size("backbone=vovnet", "backbone.ese=last")
    assert every.spec.grid_hw == (16, 64)
    assert every.spec.input_hw == (512, 2048)
    assert count(every) == 69_523_520
    # timm attends in the last block of a stage only: 1 + 3 + 9 + 3 blocks, of which 12 have none.
    missing = {512: 2, 768: 8, 1024: 2}
    assert count(every) - count(last) == sum(n * (c * c + c) for c, n in missing.items())


@pytest.mark.parametrize(
    ("backbone", "learned", "positions", "published"),
    [
        ("ijepa_vith14", 630_434_560, 256 * 1280, 630_762_240),
        ("ijepa_vitg16", 1_011_092_608, 196 * 1408, 1_011_368_576),
    ],
)
def test_ijepa_has_the_published_size_with_the_positions_of_its_training(
    backbone: str, learned: int, positions: int, published: int
) -> None:
    # Positions are fixed: counted by the release as parameters, here a buffer that cannot learn.
    assert count(at_paper_size(f"backbone={backbone}")) == learned
    assert learned + positions == published


@pytest.mark.parametrize(
    ("backbone", "timm_name", "input_px"),
    [
        ("dinov2", "vit_large_patch14_reg4_dinov2", 518),
        ("vit_supervised", "vit_huge_patch14_224", 224),
    ],
)
def test_controls_are_timms_networks_on_another_grid(
    backbone: str, timm_name: str, input_px: int
) -> None:
    model = at_paper_size(f"backbone={backbone}")
    with torch.device("meta"):
        reference: Any = timm.create_model(timm_name, num_classes=0)
    theirs, ours = (input_px // 14) ** 2, model.spec.num_tokens
    assert count(model) - count(reference) == (ours - theirs) * model.spec.token_dim
