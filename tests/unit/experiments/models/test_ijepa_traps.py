"""Mistakes with I-JEPA that train without complaint and only cost score; each is a test here.

They were made in public planners: the corner patch taken for a class token, the context encoder
taken for the target encoder, pixels standardised as another model, images that patches cannot
tile, positions of a square grid on a wide image, blocks frozen by a name that a library changed.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from timm.layers.pos_embed import resample_abs_pos_embed

from experiments.models import IJepaPretraining, apply_policy, build_backbone, official_checkpoint
from experiments.models.ijepa import IJepaBackbone
from experiments.models.positions import sincos_positions
from experiments.settings import ExperimentConfig, FinetuneConfig, from_config
from launcher.errors import ConfigError
from tests.unit.experiments.models import tiny


def test_token_zero_is_the_top_left_patch_and_no_class_token() -> None:
    model = IJepaBackbone(tiny.ijepa(), image_hw=tiny.IMAGE_HW).eval()
    assert model.spec.num_tokens == 4 * 16
    no_attention = model.encoder
    image = torch.full((1, 3, *tiny.IMAGE_HW), 128, dtype=torch.uint8)
    corner = image.clone()
    corner[..., :12, :12] = 255
    with torch.no_grad():
        before, after = (no_attention(x)[0] for x in (image, corner))
    moved = (after - before).norm(dim=-1)
    # A class token would be about as far from every patch; this one is the patch that changed.
    assert moved.argmax() == 0
    assert moved[0] > 3 * moved[1:].mean()
    assert not any("cls" in name for name in no_attention.state_dict())


@pytest.mark.parametrize("layout", ["timm", "huggingface"])
def test_libraries_hold_the_context_encoder_so_the_target_encoder_is_refused(layout: str) -> None:
    with pytest.raises(ConfigError, match=f"cannot come from `backbone.weights_format={layout}`"):
        tiny.ijepa(weights="some.file", weights_format=layout)
    tiny.ijepa(weights="some.file", weights_format=layout, which="encoder")


def test_context_and_target_encoder_of_one_file_differ_and_the_record_says_which(
    tmp_path: Path,
) -> None:
    module = IJepaPretraining(tiny.ijepa(), image_hw=tiny.IMAGE_HW)
    with torch.no_grad():
        for parameter in module.encoder.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    torch.save(official_checkpoint(module), tmp_path / "jepa.pth.tar")
    found: dict[str, Any] = {}
    for which in ("encoder", "target_encoder"):
        config = tiny.ijepa(weights=str(tmp_path / "jepa.pth.tar"), which=which)
        model = build_backbone(config, image_hw=tiny.IMAGE_HW, bev_px=64)
        assert model.describe()["which"] == model.spec.which_encoder == which
        found[which] = model.encode(tiny.batch(1)).tokens
    assert not torch.allclose(found["encoder"], found["target_encoder"], atol=1e-2)


def test_statistics_of_huggingfaces_default_processor_give_other_features_and_are_refused() -> None:
    model = IJepaBackbone(tiny.ijepa(), image_hw=tiny.IMAGE_HW).eval()
    image = tiny.batch(1)["image"]
    imagenet = model.encode({"image": image}).tokens
    model.encoder.standardise.mean.fill_(0.5)
    model.encoder.standardise.std.fill_(0.5)
    assert not torch.allclose(imagenet, model.encode({"image": image}).tokens, atol=1e-2)
    with pytest.raises(ConfigError, match=r"`backbone.pixel_statistics=half` does not fit I-JEPA"):
        tiny.ijepa(pixel_statistics="half")


@pytest.mark.parametrize("name", ["ijepa", "dinov2", "vit_supervised"])
def test_images_that_patches_cannot_tile_are_refused_before_anything_is_built(name: str) -> None:
    experiment = ExperimentConfig()
    experiment.backbone.name = name
    experiment.data.image_hw = (256, 1024)
    with pytest.raises(ConfigError) as refusal:
        from_config({part: getattr(experiment, part) for part in vars(experiment)})
    assert "data.image_hw=[256, 1024]` is not a multiple" in refusal.value.message
    assert refusal.value.hint == "nearest legal sizes: height 252 or 266, width 1022 or 1036"


def test_wide_images_get_stretched_positions_not_those_of_the_square_in_reading_order(
    tmp_path: Path,
) -> None:
    module = IJepaPretraining(tiny.ijepa(), image_hw=(96, 96))
    torch.save(official_checkpoint(module), tmp_path / "square.pth.tar")
    config = tiny.ijepa(weights=str(tmp_path / "square.pth.tar"))
    model = build_backbone(config, image_hw=(96, 384), bev_px=64)
    ours = model.state_dict()["encoder.pos_embed"]
    # timm interpolates the table, this project the positions themselves: away from the border,
    # where interpolation has nothing to go by, both agree.
    square = sincos_positions(32, (8, 8))
    timms = resample_abs_pos_embed(square, [8, 32], [8, 8], num_prefix_tokens=0)
    inner = (slice(1, -1), slice(4, -4))
    ours, timms = (x.view(8, 32, 32)[inner] for x in (ours, timms))
    torch.testing.assert_close(ours, timms, atol=0.08, rtol=0)
    assert not torch.allclose(ours, sincos_positions(32, (8, 32)).view(8, 32, 32)[inner], atol=0.5)


def test_freezing_follows_the_structure_whatever_blocks_are_called() -> None:
    model = IJepaBackbone(tiny.ijepa(depth=3), image_hw=tiny.IMAGE_HW)
    # What a library did between two versions: the same blocks under another name.
    parts = model.encoder._modules
    model.encoder._modules = {"layers" if k == "blocks" else k: m for k, m in parts.items()}
    model.encoder.__dict__["blocks"] = model.encoder.layers
    frozen = apply_policy(FinetuneConfig(policy="last_n", blocks=1), model)
    learns = {id(p) for p in frozen.parameters() if p.requires_grad}
    last = {id(p) for p in model.encoder.layers[-1].parameters()}
    norm = {id(p) for p in model.encoder.norm.parameters()}
    assert learns == last | norm
    first = model.encoder.layers[0]
    assert not any(p.requires_grad for p in first.parameters())
    frozen.train()
    assert not first.training
