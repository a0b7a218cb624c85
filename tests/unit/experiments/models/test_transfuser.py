"""TransFuser works when tiny, keeps tokens in order, and learns the map of its surroundings."""

import hashlib
import math
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from experiments.models import build_backbone
from experiments.models.transfuser import TransFuser
from experiments.models.transfuser_branch import ResNetBranch
from launcher.errors import ConfigError
from tests.unit.experiments.models import tiny


@pytest.mark.parametrize("channels", [1, 3])
def test_default_branch_is_timms_resnet34(channels: int) -> None:
    branch = ResNetBranch(channels, (3, 4, 6, 3), (64, 128, 256, 512)).eval()
    reference: Any = timm.create_model("resnet34", in_chans=channels, num_classes=0).eval()
    reference.load_state_dict(branch.state_dict(), strict=True)
    x = torch.rand(1, channels, 64, 96)
    features = branch.stem()(x)
    for stage in branch.stages():
        features = stage(features)
    torch.testing.assert_close(features, reference.forward_features(x))


@pytest.mark.parametrize("image_hw", [(32, 128), (64, 256), (40, 100)])
def test_tiny_sizes_give_finite_tokens(image_hw: tuple[int, int]) -> None:
    config = tiny.transfuser(image_anchors_hw=(2, 8))
    model = build_backbone(config, image_hw=image_hw, bev_px=64)
    image = torch.randint(0, 256, (2, 3, *image_hw), dtype=torch.uint8)
    tokens = model.encode({"image": image, "lidar": torch.rand(2, 1, 64, 64)}).tokens
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
        difference = model.encode(batch | {"lidar": changed}).tokens - model.encode(batch).tokens
    assert difference.norm(dim=-1).argmax() == row * 4 + column


def test_image_reaches_the_tokens() -> None:
    model = build_backbone(tiny.transfuser(), image_hw=tiny.IMAGE_HW, bev_px=64).eval()
    batch = tiny.batch(1)
    dark = batch | {"image": torch.zeros_like(batch["image"])}
    assert not torch.allclose(model.encode(batch).tokens, model.encode(dark).tokens, atol=1e-3)


def test_tokens_are_the_fused_lidar_map_alone() -> None:
    model = TransFuser(tiny.transfuser(), image_hw=tiny.IMAGE_HW, bev_px=128).eval()
    seen: list[torch.Tensor] = []
    model.fusions[-1].register_forward_hook(lambda _m, _i, out: seen.append(out[1]))
    lidar = torch.rand(2, 1, 128, 128)
    tokens = model.encode({"image": tiny.batch(2)["image"], "lidar": lidar}).tokens
    torch.testing.assert_close(tokens, seen[0].flatten(2).transpose(1, 2))


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


def with_semantics(**changes: Any) -> TransFuser:
    config = tiny.transfuser(auxiliary="navsim", bev_channels=8, **changes)
    return TransFuser(config, image_hw=tiny.IMAGE_HW, bev_px=64)


def semantics(size: int = 2) -> torch.Tensor:
    """Road ahead, with a vehicle on it."""
    classes = torch.zeros(size, 32, 64, dtype=torch.uint8)
    classes[:, :, 24:40] = 1
    classes[:, 8:12, 30:34] = 5
    return classes


def test_semantic_map_is_learnt_beside_the_tokens() -> None:
    model = with_semantics()
    batch = tiny.batch(2) | {"bev_semantics": semantics()}
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(25):
        terms = model.auxiliary_loss(model(batch), batch)
        assert list(terms) == ["bev_semantics"]
        losses.append(tiny.step(optimizer, terms["bev_semantics"]))
    assert model.targets == {"bev_semantics"}
    assert losses[0] == pytest.approx(10 * math.log(7), rel=0.3)
    assert losses[-1] < 0.5 * losses[0]


def test_semantic_loss_is_ten_times_the_published_cross_entropy() -> None:
    model = with_semantics()
    batch = tiny.batch(2) | {"bev_semantics": semantics()}
    encoded = model(batch)
    assert encoded.bev is not None
    assert encoded.bev.shape == (2, 8, 16, 16)
    assert model.semantics is not None
    logits = model.semantics(encoded.bev)
    assert logits.shape == (2, 7, 32, 64)
    expected = 10 * torch.nn.functional.cross_entropy(logits, semantics().long())
    torch.testing.assert_close(model.auxiliary_loss(encoded, batch)["bev_semantics"], expected)


def test_without_the_auxiliary_loss_nothing_of_it_is_built() -> None:
    model = TransFuser(tiny.transfuser(), image_hw=tiny.IMAGE_HW, bev_px=64)
    encoded = model(tiny.batch(2))
    assert encoded.bev is None
    assert model.auxiliary_loss(encoded, {}) == {}
    assert not model.targets
    assert model.describe()["auxiliary"] == "none"
    assert with_semantics().describe()["auxiliary"] == "bev_semantics"


def test_semantic_labels_of_another_size_are_refused() -> None:
    model = with_semantics()
    batch = tiny.batch(2) | {"bev_semantics": torch.zeros(2, 64, 64, dtype=torch.uint8)}
    with pytest.raises(ValueError, match=r"`bev_semantics` has shape \(2, 64, 64\)"):
        model.auxiliary_loss(model(batch), batch)


def test_every_parameter_learns_from_tokens_and_map_together() -> None:
    model = with_semantics()
    batch = tiny.batch(2) | {"bev_semantics": semantics()}
    encoded = model(batch)
    loss = encoded.tokens.square().mean() + model.auxiliary_loss(encoded, batch)["bev_semantics"]
    torch.autograd.backward(loss)
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_camera_branch_starts_from_timms_weights_without_their_classifier(tmp_path: Path) -> None:
    branch = ResNetBranch(3, (1, 1, 1, 1), (8, 16, 32, 64))
    state = branch.state_dict() | {"fc.weight": torch.zeros(1000, 64), "fc.bias": torch.zeros(1000)}
    torch.save(state, tmp_path / "resnet.pth")
    config = tiny.transfuser(weights=str(tmp_path / "resnet.pth"), weights_format="timm")
    model = build_backbone(config, image_hw=tiny.IMAGE_HW, bev_px=64)
    assert isinstance(model, TransFuser)
    assert torch.equal(model.image.conv1.weight, branch.conv1.weight)
    digest = hashlib.sha256((tmp_path / "resnet.pth").read_bytes()).hexdigest()
    assert model.describe()["camera_branch"] == digest
    # The spec's digest stands for all weights, and the LiDAR branch is random.
    assert model.spec.weights_sha256 is None


def test_auxiliary_loss_of_a_backbone_without_a_view_from_above_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"auxiliary=navsim` does not fit `backbone.name=ijepa"):
        tiny.ijepa(auxiliary="navsim")
