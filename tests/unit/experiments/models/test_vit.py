"""Controls give patch tokens only, load timm's weights as a whole, and say so."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer

from experiments.models import ViTBackbone, build_backbone
from experiments.settings import BackboneConfig
from launcher.errors import ConfigError
from tests.unit.experiments.models import tiny

SIZES: dict[str, Any] = {
    "patch_px": 12,
    "embed_dim": 32,
    "depth": 2,
    "num_heads": 2,
    "mlp_ratio": 2.0,
}


def config(name: str = "dinov2", **changes: Any) -> BackboneConfig:
    own = {"registers": 3, "layer_scale": 0.5} if name == "dinov2" else {}
    return BackboneConfig(**({"name": name} | SIZES | own | changes))


def timm_model(image_hw: tuple[int, int], **changes: Any) -> VisionTransformer:
    sizes = {"embed_dim": 32, "depth": 2, "num_heads": 2, "mlp_ratio": 2.0, "patch_size": 12}
    return VisionTransformer(img_size=image_hw, num_classes=7, **(sizes | changes)).eval()


def saved(model: VisionTransformer, folder: Path) -> dict[str, str]:
    torch.save(model.state_dict(), folder / "timm.pth")
    return {"weights": str(folder / "timm.pth"), "weights_format": "timm"}


@pytest.mark.parametrize(("name", "prefix"), [("dinov2", 4), ("vit_supervised", 1)])
def test_neither_class_token_nor_registers_reach_the_head(name: str, prefix: int) -> None:
    model = ViTBackbone(config(name), image_hw=tiny.IMAGE_HW).eval()
    image = torch.full((1, 3, *tiny.IMAGE_HW), 128, dtype=torch.uint8)
    seen: list[torch.Tensor] = []
    model.vit.norm.register_forward_hook(lambda _m, _i, out: seen.append(out))
    tokens = model.encode({"image": image}).tokens
    assert tokens.shape == (1, 64, 32)
    assert seen[0].shape == (1, 64 + prefix, 32)
    assert torch.equal(tokens, seen[0][:, prefix:])
    assert model.describe()["prefix_tokens"] == prefix


@pytest.mark.parametrize("name", ["dinov2", "vit_supervised"])
@pytest.mark.parametrize(("row", "column"), [(0, 0), (2, 5), (3, 15)])
def test_tokens_follow_the_image_row_by_row(name: str, row: int, column: int) -> None:
    model = ViTBackbone(config(name), image_hw=tiny.IMAGE_HW).eval()
    image = torch.full((1, 3, *tiny.IMAGE_HW), 128, dtype=torch.uint8)
    changed = image.clone()
    changed[..., row * 12 : (row + 1) * 12, column * 12 : (column + 1) * 12] = 255
    with torch.no_grad():
        difference = model.encode({"image": changed}).tokens - model.encode({"image": image}).tokens
    assert difference.norm(dim=-1).argmax() == row * 16 + column


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("dinov2", {"reg_tokens": 3, "init_values": 0.5, "no_embed_class": True}),
        ("vit_supervised", {}),
    ],
)
def test_timms_weights_give_timms_features(
    name: str, extra: dict[str, Any], tmp_path: Path
) -> None:
    reference = timm_model((48, 48), **extra)
    chosen = saved(reference, tmp_path)
    model = build_backbone(config(name, **chosen), image_hw=(48, 48), bev_px=64).eval()
    image = torch.randint(0, 256, (2, 3, 48, 48), dtype=torch.uint8)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in tiny.IMAGENET)
    features = reference.forward_features((image / 255 - mean) / std)
    expected = features[:, reference.num_prefix_tokens :]
    torch.testing.assert_close(model.encode({"image": image}).tokens, expected)
    assert (
        model.spec.weights_sha256
        == hashlib.sha256((tmp_path / "timm.pth").read_bytes()).hexdigest()
    )
    assert model.describe()["weights"] == "timm"


@pytest.mark.parametrize("no_embed_class", [False, True])
def test_learned_positions_are_stretched_and_those_before_the_patches_kept(
    no_embed_class: bool, tmp_path: Path
) -> None:
    registers = 3 if no_embed_class else 0
    reference = timm_model(
        (48, 48), reg_tokens=registers, no_embed_class=no_embed_class, init_values=0.5
    )
    chosen = saved(reference, tmp_path)
    model = ViTBackbone(
        config(registers=registers, **chosen), image_hw=(48, 192), weights=tmp_path / "timm.pth"
    )
    before = 0 if no_embed_class else 1
    table, wide = reference.pos_embed.detach(), model.vit.pos_embed.detach()
    assert torch.equal(wide[:, :before], table[:, :before])
    rows = wide[0, before:].view(4, 16, 32)
    # Averaged over the four columns that share one, the stretched table is about the old one.
    narrow = rows.view(4, 4, 4, 32).mean(dim=2)
    torch.testing.assert_close(narrow, table[0, before:].view(4, 4, 32), atol=0.02, rtol=0)


def test_pixels_are_standardised_as_the_weights_were_trained() -> None:
    white = torch.full((1, 3, *tiny.IMAGE_HW), 255, dtype=torch.uint8)
    for statistics, expected in (("half", 1.0), ("imagenet", (1 - 0.485) / 0.229)):
        model = ViTBackbone(config(pixel_statistics=statistics), image_hw=tiny.IMAGE_HW)
        seen: list[torch.Tensor] = []
        model.vit.patch_embed.register_forward_pre_hook(
            lambda _m, args, seen=seen: seen.append(args[0])
        )
        model.encode({"image": white})
        assert seen[0][0, 0, 0, 0] == pytest.approx(expected)


def test_other_numbers_of_registers_are_refused(tmp_path: Path) -> None:
    chosen = saved(timm_model((48, 48), reg_tokens=3, no_embed_class=True), tmp_path)
    with pytest.raises(ConfigError, match="is no square grid of patches after 1 further tokens"):
        build_backbone(config(registers=0, **chosen), image_hw=(48, 48), bev_px=64)
    with pytest.raises(ConfigError, match=r"reg_token .* instead of "):
        build_backbone(
            config(registers=2, layer_scale=None, **chosen), image_hw=(48, 48), bev_px=64
        )


def test_layer_scale_that_the_file_lacks_is_refused(tmp_path: Path) -> None:
    chosen = saved(timm_model((48, 48)), tmp_path)
    with pytest.raises(ConfigError, match=r"missing blocks.0.ls1.gamma"):
        build_backbone(config(registers=0, **chosen), image_hw=(48, 48), bev_px=64)


def test_layouts_of_ijepa_are_refused() -> None:
    with pytest.raises(ConfigError, match="is a layout of I-JEPA, not of `dinov2`"):
        config(weights="x.pth", weights_format="official")


def test_supervised_vit_ignores_what_only_dinov2_has() -> None:
    model = ViTBackbone(
        config("vit_supervised", registers=5, layer_scale=0.1), image_hw=tiny.IMAGE_HW
    )
    assert model.num_prefix == 1
    assert not any("gamma" in name for name, _ in model.named_parameters())


def test_it_learns_from_scratch_with_every_parameter() -> None:
    module = tiny.planning(config())
    batch = tiny.batch(4)
    encoded = module.backbone(batch)
    loss = module.head(encoded.tokens, batch["status"]).trajectory.square().mean()
    torch.autograd.backward(loss)
    without = [name for name, p in module.backbone.named_parameters() if p.grad is None]
    assert without == []
    assert len(module.backbone.blocks()) == 2
