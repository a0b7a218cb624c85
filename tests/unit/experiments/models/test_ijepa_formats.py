"""One encoder in three layouts: official, timm, Hugging Face. Features must not differ."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from experiments.models import IJepaPretraining, build_backbone, official_checkpoint
from experiments.models.ijepa import IJepaBackbone, PatchEncoder
from launcher.errors import ConfigError
from tests.unit.experiments.models import tiny

SQUARE = (48, 48)
TOLERANCE = {"atol": 1e-5, "rtol": 0.0}
V4 = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
    "qkv": ("attention.attention.query", "attention.attention.key", "attention.attention.value"),
}
V5 = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.proj": "attention.o_proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
    "qkv": ("attention.q_proj", "attention.k_proj", "attention.v_proj"),
}


@pytest.fixture
def pretrained() -> IJepaPretraining:
    """A module whose two encoders differ, and differ from what fresh ones are."""
    module = IJepaPretraining(tiny.ijepa(), image_hw=SQUARE)
    with torch.no_grad():
        for part in (module.encoder, module.target_encoder):
            for parameter in part.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
    return module


@pytest.fixture
def image() -> Tensor:
    return torch.randint(0, 256, (2, 3, *SQUARE), dtype=torch.uint8)


def standardised(image: Tensor, statistics: Any = tiny.IMAGENET) -> Tensor:
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in statistics)
    return (image / 255 - mean) / std


def in_huggingface_names(encoder: PatchEncoder, version: int) -> dict[str, Tensor]:
    """The state of an encoder as IJepaModel of version 4 or 5 of the library names it."""
    names, root = (V4, "encoder.layer") if version == 4 else (V5, "layers")
    state = encoder.state_dict()
    result = {
        "embeddings.position_embeddings": state["pos_embed"],
        "embeddings.patch_embeddings.projection.weight": state["patch_embed.proj.weight"],
        "embeddings.patch_embeddings.projection.bias": state["patch_embed.proj.bias"],
        "layernorm.weight": state["norm.weight"],
        "layernorm.bias": state["norm.bias"],
    }
    for number in range(len(encoder.blocks)):
        for kind in ("weight", "bias"):
            for ours in ("norm1", "norm2", "attn.proj", "mlp.fc1", "mlp.fc2"):
                value = state[f"blocks.{number}.{ours}.{kind}"]
                result[f"{root}.{number}.{names[ours]}.{kind}"] = value
            thirds = state[f"blocks.{number}.attn.qkv.{kind}"].chunk(3)
            for name, value in zip(names["qkv"], thirds, strict=True):
                result[f"{root}.{number}.{name}.{kind}"] = value
    return {name: value.clone() for name, value in result.items()}


def loaded(path: Path, layout: str, which: str = "encoder") -> IJepaBackbone:
    config = tiny.ijepa(weights=str(path), weights_format=layout, which=which)
    model = build_backbone(config, image_hw=SQUARE, bev_px=64)
    assert isinstance(model, IJepaBackbone)
    return model.eval()


@pytest.fixture
def huggingface() -> Any:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    config = transformers.IJepaConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=48,
        patch_size=12,
    )
    return transformers.IJepaModel(config).eval()


def test_official_file_gives_the_features_of_timms_vision_transformer(
    pretrained: IJepaPretraining, image: Tensor, tmp_path: Path
) -> None:
    path = tmp_path / "jepa.pth.tar"
    torch.save(official_checkpoint(pretrained), path)
    content = torch.load(path, weights_only=True)
    reference = VisionTransformer(
        img_size=SQUARE,
        patch_size=12,
        embed_dim=32,
        depth=2,
        num_heads=2,
        mlp_ratio=2.0,
        num_classes=0,
        class_token=False,
        global_pool="avg",
        fc_norm=False,
    ).eval()
    for which in ("encoder", "target_encoder"):
        state = {name.removeprefix("module."): value for name, value in content[which].items()}
        reference.load_state_dict(state, strict=True)
        expected = reference.forward_features(standardised(image))
        ours = loaded(path, "official", which).encode({"image": image}).tokens
        torch.testing.assert_close(ours, expected, **TOLERANCE)
        torch.save(reference.state_dict(), tmp_path / "timm.pth")
        from_timm = loaded(tmp_path / "timm.pth", "timm").encode({"image": image}).tokens
        assert torch.equal(from_timm, ours)


def test_official_file_gives_the_features_of_huggingfaces_ijepa(
    pretrained: IJepaPretraining, image: Tensor, tmp_path: Path, huggingface: Any
) -> None:
    path = tmp_path / "jepa.pth.tar"
    torch.save(official_checkpoint(pretrained), path)
    version = 5 if "layers.0.layernorm_before.weight" in huggingface.state_dict() else 4
    for which in ("encoder", "target_encoder"):
        state = in_huggingface_names(getattr(pretrained, which), version)
        huggingface.load_state_dict(state, strict=True)
        with torch.no_grad():
            expected = huggingface(standardised(image)).last_hidden_state
        ours = loaded(path, "official", which).encode({"image": image}).tokens
        torch.testing.assert_close(ours, expected, **TOLERANCE)


def test_what_huggingface_saves_loads_equal(
    image: Tensor, tmp_path: Path, huggingface: Any, pretrained: IJepaPretraining
) -> None:
    # The library would draw positions at random; released models hold the fixed table.
    table = huggingface.embeddings.position_embeddings
    table.data.copy_(pretrained.encoder.pos_embed)
    huggingface.save_pretrained(tmp_path / "saved")
    torch.save(huggingface.state_dict(), tmp_path / "model.bin")
    with torch.no_grad():
        expected = huggingface(standardised(image)).last_hidden_state
    for path in (tmp_path / "saved" / "model.safetensors", tmp_path / "model.bin"):
        ours = loaded(path, "huggingface").encode({"image": image}).tokens
        torch.testing.assert_close(ours, expected, **TOLERANCE)


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("prefix", ["", "ijepa."])
def test_both_generations_of_huggingface_names_load(
    version: int, prefix: str, pretrained: IJepaPretraining, image: Tensor, tmp_path: Path
) -> None:
    state = in_huggingface_names(pretrained.encoder, version)
    named = {prefix + name: value for name, value in state.items()}
    named["classifier.weight"] = torch.zeros(1000, 32)
    save_file(named, tmp_path / "model.safetensors")
    ours = loaded(tmp_path / "model.safetensors", "huggingface")
    assert torch.equal(ours.encode({"image": image}).tokens, pretrained.encoder(image))
    assert ours.spec.which_encoder == "encoder"
    assert ours.describe() == {"weights": "huggingface", "which": "encoder"}


def test_huggingface_file_without_a_projection_is_refused(
    pretrained: IJepaPretraining, tmp_path: Path
) -> None:
    state = in_huggingface_names(pretrained.encoder, 5)
    del state["layers.1.attention.k_proj.weight"]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(ConfigError, match=r"missing blocks.1.attn.qkv.weight, unexpected nothing"):
        loaded(tmp_path / "model.safetensors", "huggingface")


def test_name_that_is_no_part_of_the_encoder_is_refused(
    pretrained: IJepaPretraining, tmp_path: Path
) -> None:
    state = in_huggingface_names(pretrained.encoder, 5) | {"pooler.dense.bias": torch.zeros(32)}
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(ConfigError, match=r"missing nothing, unexpected pooler.dense.bias"):
        loaded(tmp_path / "model.safetensors", "huggingface")
