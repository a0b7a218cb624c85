"""TransFuser has the published size, works when tiny, and keeps tokens in order."""

from typing import Any

import pytest
import timm
import torch
from torch import nn

from experiments.models import build_backbone
from experiments.models.transfuser import FusionTransformer, ResNetBranch, TransFuser
from experiments.settings import BackboneConfig
from launcher.errors import ConfigError
from tests.unit.experiments.models import tiny


def millions(module: nn.Module) -> float:
    return sum(p.numel() for p in module.parameters()) / 1e6


def test_paper_size_has_the_published_parameter_counts() -> None:
    with torch.device("meta"):
        model = TransFuser(BackboneConfig(), image_hw=(256, 1024), bev_px=256)
    transformers = [m for m in model.modules() if isinstance(m, FusionTransformer)]
    fusion = sum(map(millions, transformers))
    assert millions(model.image) == pytest.approx(21.3, abs=0.05)
    assert millions(model.lidar) == pytest.approx(21.3, abs=0.05)
    assert fusion == pytest.approx(8.7, abs=0.05)
    # The 1 x 1 convolutions between the branches are 2 x sum of squared widths (plus biases).
    adaption = millions(model.fusions) - fusion
    assert adaption == pytest.approx(2 * (64**2 + 128**2 + 256**2 + 512**2) / 1e6, abs=0.01)


@pytest.mark.parametrize("channels", [1, 3])
def test_default_branch_is_timms_resnet34(channels: int) -> None:
    branch = ResNetBranch(channels, (3, 4, 6, 3), (64, 128, 256, 512)).eval()
    reference: Any = timm.create_model("resnet34", in_chans=channels, num_classes=0).eval()
    reference.load_state_dict(branch.state_dict(), strict=True)
    x = torch.rand(1, channels, 64, 96)
    features = branch.stem(x)
    for stage in branch.stages():
        features = stage(features)
    torch.testing.assert_close(features, reference.forward_features(x))


@pytest.mark.parametrize("image_hw", [(32, 128), (64, 256), (40, 100)])
def test_tiny_sizes_give_finite_tokens(image_hw: tuple[int, int]) -> None:
    config = tiny.transfuser(image_anchors_hw=(2, 8))
    model = build_backbone(config, image_hw=image_hw, bev_px=64)
    image = torch.randint(0, 256, (2, 3, *image_hw), dtype=torch.uint8)
    tokens = model.encode({"image": image, "lidar": torch.rand(2, 1, 64, 64)})
    assert tokens.shape == (2, model.spec.num_tokens, model.spec.token_dim) == (2, 16, 64)
    assert tokens.isfinite().all()


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 3), (2, 1), (3, 2)])
def test_tokens_follow_the_lidar_grid_row_by_row(row: int, column: int) -> None:
    model = build_backbone(tiny.transfuser(), image_hw=tiny.IMAGE_HW, bev_px=128).eval()
    batch = {"image": tiny.batch(1)["image"], "lidar": torch.zeros(1, 1, 128, 128)}
    changed = batch["lidar"].clone()
    top, left = row * 32 + 8, column * 32 + 8
    changed[..., top : top + 16, left : left + 16] = 1.0
    with torch.no_grad():
        difference = model.encode(batch | {"lidar": changed}) - model.encode(batch)
    assert difference.norm(dim=-1).argmax() == row * 4 + column


def test_image_reaches_the_tokens() -> None:
    model = build_backbone(tiny.transfuser(), image_hw=tiny.IMAGE_HW, bev_px=64).eval()
    batch = tiny.batch(1)
    dark = batch | {"image": torch.zeros_like(batch["image"])}
    assert not torch.allclose(model.encode(batch), model.encode(dark), atol=1e-3)


def test_mean_token_is_the_sum_of_both_global_features() -> None:
    model = TransFuser(tiny.transfuser(), image_hw=tiny.IMAGE_HW, bev_px=128).eval()
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    model.fusions[-1].register_forward_hook(lambda _m, _i, out: seen.append(out))
    lidar = torch.rand(2, 1, 128, 128)
    tokens = model.encode({"image": tiny.batch(2)["image"], "lidar": lidar})
    image, bev = seen[0]
    torch.testing.assert_close(tokens.mean(1), image.mean((2, 3)) + bev.mean((2, 3)))


def test_blocks_are_four_stages_that_hold_everything_but_the_stems() -> None:
    model = TransFuser(tiny.transfuser(), image_hw=tiny.IMAGE_HW, bev_px=64)
    in_blocks = {id(p) for block in model.blocks() for p in block.parameters()}
    stems = [model.image.conv1, model.image.bn1, model.lidar.conv1, model.lidar.bn1]
    in_stems = {id(p) for stem in stems for p in stem.parameters()}
    assert len(model.blocks()) == 4
    assert in_blocks | in_stems == {id(p) for p in model.parameters()}
    assert not in_blocks & in_stems


def test_batch_of_another_size_is_refused() -> None:
    model = build_backbone(tiny.transfuser(), image_hw=tiny.IMAGE_HW, bev_px=32)
    with pytest.raises(ValueError, match=r"`lidar` has shape \(8, 1, 64, 64\)"):
        model.encode(tiny.batch())


def test_widths_that_heads_cannot_share_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"stage_channels` \[10\]"):
        build_backbone(
            tiny.transfuser(stage_channels=(10, 16, 32, 64), fusion_heads=4),
            image_hw=tiny.IMAGE_HW,
            bev_px=64,
        )


def test_wrong_number_of_stages_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"stage_blocks=\[1, 1\]` must be 4"):
        build_backbone(tiny.transfuser(stage_blocks=(1, 1)), image_hw=(64, 64), bev_px=64)
