"""Checkpoints load as a whole, from the encoder that was named, or not at all."""

import hashlib
from pathlib import Path

import pytest
import torch

from experiments.models import IJepaPretraining, build_backbone, official_checkpoint
from experiments.models.backbone import Backbone
from experiments.models.positions import sincos_positions
from experiments.settings import BackboneConfig
from launcher.errors import ConfigError
from tests.unit.experiments.models import tiny


@pytest.fixture
def pretrained() -> IJepaPretraining:
    """A module whose two encoders differ."""
    module = IJepaPretraining(tiny.ijepa(), image_hw=tiny.IMAGE_HW)
    with torch.no_grad():
        for parameter in module.encoder.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return module


@pytest.fixture
def weights(pretrained: IJepaPretraining, tmp_path: Path) -> Path:
    path = tmp_path / "jepa.pth.tar"
    torch.save(official_checkpoint(pretrained), path)
    return path


def load(
    weights: Path,
    which: str = "target_encoder",
    config: BackboneConfig | None = None,
    image_hw: tuple[int, int] = tiny.IMAGE_HW,
) -> Backbone:
    config = config or tiny.ijepa(weights="pretrain", which=which)
    return build_backbone(config, image_hw=image_hw, bev_px=64, weights=weights)


def test_round_trip_gives_the_features_of_the_named_encoder(
    pretrained: IJepaPretraining, weights: Path
) -> None:
    batch = tiny.batch(2)
    target, context = pretrained.target_encoder(batch["image"]), pretrained.encoder(batch["image"])
    assert not torch.allclose(target, context, atol=1e-2)
    assert torch.equal(load(weights, "target_encoder").encode(batch), target)
    assert torch.equal(load(weights, "encoder").encode(batch), context)


def test_spec_names_file_and_encoder(weights: Path) -> None:
    spec = load(weights, "encoder").spec
    assert spec.which_encoder == "encoder"
    assert spec.weights_sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()


def test_wrong_width_is_refused_and_both_are_named(weights: Path) -> None:
    with pytest.raises(ConfigError, match="encoder of width 32, the backbone has width 64"):
        load(weights, config=tiny.ijepa(weights="pretrain", embed_dim=64))


def test_wrong_patch_is_refused_and_both_are_named(weights: Path) -> None:
    with pytest.raises(ConfigError, match="patches of 12 px, the backbone has patches of 6 px"):
        load(weights, config=tiny.ijepa(weights="pretrain", patch_px=6))


def test_wrong_depth_is_refused_with_the_names(weights: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing \['blocks.2.attn.proj.bias'"):
        load(weights, config=tiny.ijepa(weights="pretrain", depth=3))
    with pytest.raises(ConfigError, match=r"unexpected \['blocks.1.attn.proj.bias'"):
        load(weights, config=tiny.ijepa(weights="pretrain", depth=1))


def test_wrong_mlp_is_refused_with_the_shapes(weights: Path) -> None:
    with pytest.raises(ConfigError, match=r"mlp.fc1.bias \(64,\) instead of \(128,\)"):
        load(weights, config=tiny.ijepa(weights="pretrain", mlp_ratio=4.0))


def test_file_without_the_named_encoder_is_refused(weights: Path) -> None:
    content = torch.load(weights, weights_only=True)
    del content["target_encoder"]
    torch.save(content, weights)
    with pytest.raises(ConfigError, match="has no `target_encoder`; it holds batch_size, encoder"):
        load(weights)


def test_code_in_a_file_is_never_run(weights: Path) -> None:
    torch.save({"target_encoder": {"module.norm.bias": Path("x")}}, weights)
    with pytest.raises(Exception, match="Weights only load failed"):
        load(weights)


def test_square_grid_is_stretched_to_the_images_grid(tmp_path: Path) -> None:
    module = IJepaPretraining(tiny.ijepa(), image_hw=(96, 96))
    torch.save(official_checkpoint(module), tmp_path / "square.pth.tar")
    model = load(tmp_path / "square.pth.tar", image_hw=(48, 180))
    expected = sincos_positions(32, (4, 15), trained_hw=(8, 8))
    assert torch.equal(model.state_dict()["encoder.pos_embed"], expected)


def test_grid_of_the_same_size_but_another_form_is_refused(tmp_path: Path) -> None:
    module = IJepaPretraining(tiny.ijepa(), image_hw=(96, 96))
    torch.save(official_checkpoint(module), tmp_path / "square.pth.tar")
    with pytest.raises(ConfigError, match=r"positions in .* are not those of a 4 x 16 grid"):
        load(tmp_path / "square.pth.tar", image_hw=(48, 192))


@pytest.mark.parametrize(
    ("config", "given", "message"),
    [
        (tiny.transfuser(weights="pretrain"), True, "does not fit `backbone.name=transfuser`"),
        (tiny.ijepa(weights="pretrain"), False, "needs the checkpoint of a pretrain run"),
        (tiny.ijepa(), True, "although `backbone.weights=none`"),
    ],
)
def test_contradictory_wishes_are_refused(
    config: BackboneConfig, given: bool, message: str, weights: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        build_backbone(
            config, image_hw=tiny.IMAGE_HW, bev_px=64, weights=weights if given else None
        )
