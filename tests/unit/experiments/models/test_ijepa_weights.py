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
    assert torch.equal(load(weights, "target_encoder").encode(batch).tokens, target)
    assert torch.equal(load(weights, "encoder").encode(batch).tokens, context)


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
    with pytest.raises(ConfigError, match=r"missing blocks.2.attn.proj.bias"):
        load(weights, config=tiny.ijepa(weights="pretrain", depth=3))
    with pytest.raises(ConfigError, match=r"unexpected blocks.1.attn.proj.bias"):
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
    with pytest.raises(ConfigError, match=r"cannot be read as plain weights: Weights only load"):
        load(weights)


def test_checkpoint_of_a_planner_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    torch.save({"pytorch-lightning_version": "2.5.0", "state_dict": {}}, path)
    for layout in ("official", "timm", "huggingface"):
        config = tiny.ijepa(weights=str(path), weights_format=layout, which="encoder")
        with pytest.raises(ConfigError, match="is a checkpoint of a Lightning training"):
            build_backbone(config, image_hw=tiny.IMAGE_HW, bev_px=64)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_dtype_are_refused(weights: Path, dtype: torch.dtype) -> None:
    content = torch.load(weights, weights_only=True)
    part = content["target_encoder"]
    part["module.norm.bias"] = part["module.norm.bias"].to(dtype)
    torch.save(content, weights)
    with pytest.raises(ConfigError, match=f"holds {dtype}; weights must be torch.float32"):
        load(weights)


def test_torn_and_missing_files_are_refused(weights: Path, tmp_path: Path) -> None:
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2])
    with pytest.raises(ConfigError, match="cannot be read as plain weights"):
        load(weights)
    with pytest.raises(ConfigError, match=r"there is no such file"):
        load(tmp_path / "gone.pth.tar")
    (tmp_path / "torn.safetensors").write_bytes(b"torn")
    with pytest.raises(ConfigError, match="cannot be read as plain weights"):
        load(tmp_path / "torn.safetensors")


def test_file_that_holds_no_state_dict_is_refused(tmp_path: Path) -> None:
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    with pytest.raises(ConfigError, match="holds list, not a state dict"):
        load(tmp_path / "list.pth")


def test_official_file_read_in_another_layout_is_refused(weights: Path) -> None:
    for layout in ("timm", "huggingface"):
        config = tiny.ijepa(weights=str(weights), weights_format=layout, which="encoder")
        with pytest.raises(ConfigError, match=r"is no flat state dict: .*encoder") as refusal:
            build_backbone(config, image_hw=tiny.IMAGE_HW, bev_px=64)
        assert "weights_format" in str(refusal.value.hint)


def test_files_of_before_archives_load_too(pretrained: IJepaPretraining, tmp_path: Path) -> None:
    path = tmp_path / "old.pth.tar"
    torch.save(official_checkpoint(pretrained), path, _use_new_zipfile_serialization=False)
    batch = tiny.batch(1)
    expected = pretrained.target_encoder(batch["image"])
    assert torch.equal(load(path).encode(batch).tokens, expected)


def test_file_named_in_the_config_needs_no_pretraining(
    pretrained: IJepaPretraining, weights: Path
) -> None:
    batch = tiny.batch(1)
    model = build_backbone(tiny.ijepa(weights=str(weights)), image_hw=tiny.IMAGE_HW, bev_px=64)
    assert torch.equal(model.encode(batch).tokens, pretrained.target_encoder(batch["image"]))
    assert model.describe() == {"weights": "official", "which": "target_encoder"}


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
        (tiny.ijepa(weights="pretrain"), False, "needs the checkpoint of a pretrain run"),
        (tiny.ijepa(), True, "although `backbone.weights=none`"),
        (tiny.ijepa(weights="other.pth.tar"), True, "although `backbone.weights=other.pth.tar`"),
    ],
)
def test_contradictory_wishes_are_refused(
    config: BackboneConfig, given: bool, message: str, weights: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        build_backbone(
            config, image_hw=tiny.IMAGE_HW, bev_px=64, weights=weights if given else None
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "vovnet", "weights": "pretrain"}, "does not fit `backbone.name=vovnet`"),
        ({"weights": "pretrain", "weights_format": "timm"}, "with `backbone.weights_format=timm`"),
    ],
)
def test_pretraining_makes_official_ijepa_files_only(changes: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny.ijepa(**changes)
