"""VoVNet keeps tokens in order, and is timm's network where timm has one."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.layers.squeeze_excite import EffectiveSEModule

from experiments.models import VoVNetBackbone, build_backbone
from experiments.settings import BackboneConfig
from launcher.errors import ConfigError
from tests.unit.experiments.models import tiny

HW = (64, 256)


def config(**changes: Any) -> BackboneConfig:
    sizes: dict[str, Any] = {
        "name": "vovnet",
        "stem_channels": (8, 8, 16),
        "stage_blocks": (1, 1, 2, 1),
        "stage_channels": (16, 24, 32, 64),
        "osa_channels": (8, 8, 8, 8),
        "osa_layers": 2,
        "tokens_hw": (2, 8),
    }
    return BackboneConfig(**(sizes | changes))


def attentions(model: VoVNetBackbone) -> int:
    return sum(isinstance(module, EffectiveSEModule) for module in model.modules())


def test_tokens_are_the_last_stage_row_by_row() -> None:
    model = VoVNetBackbone(config(), image_hw=HW).eval()
    image = torch.full((1, 3, *HW), 128, dtype=torch.uint8)
    changed = image.clone()
    changed[..., 40:56, 168:184] = 255
    with torch.no_grad():
        tokens = model.encode({"image": image}).tokens
        difference = model.encode({"image": changed}).tokens - tokens
    assert tokens.shape == (1, 16, 64)
    assert difference.norm(dim=-1).argmax() == 1 * 8 + 5


@pytest.mark.parametrize("image_hw", [(48, 192), (32, 64), (100, 230)])
def test_any_size_is_pooled_to_the_wanted_grid(image_hw: tuple[int, int]) -> None:
    model = VoVNetBackbone(config(tokens_hw=(1, 4)), image_hw=image_hw).eval()
    image = torch.zeros(1, 3, *image_hw, dtype=torch.uint8)
    assert model.encode({"image": image}).tokens.shape == (1, 4, 64)


def test_every_block_attends_to_channels_unless_timms_layout_is_asked_for() -> None:
    assert attentions(VoVNetBackbone(config(), image_hw=HW)) == 5
    assert attentions(VoVNetBackbone(config(ese="last"), image_hw=HW)) == 4


def test_timms_weights_fit_timms_layout_and_no_other(tmp_path: Path) -> None:
    sizes = {"stem_chs": [8, 8, 16], "stage_conv_chs": [8] * 4, "stage_out_chs": [16, 24, 32, 64]}
    more = {"layer_per_block": 2, "block_per_stage": [1, 1, 2, 1], "residual": True}
    reference = timm.models.vovnet.VovNet(
        sizes | more | {"depthwise": False, "attn": "ese"}, num_classes=5
    ).eval()
    path = tmp_path / "vovnet.pth"
    torch.save(reference.state_dict(), path)
    chosen = {"weights": str(path), "weights_format": "timm"}
    model = build_backbone(config(ese="last", **chosen), image_hw=HW, bev_px=64).eval()
    image = torch.randint(0, 256, (1, 3, *HW), dtype=torch.uint8)
    statistics = (torch.tensor(values).view(3, 1, 1) for values in tiny.IMAGENET)
    mean, std = statistics
    expected = reference.forward_features((image / 255 - mean) / std)
    torch.testing.assert_close(
        model.encode({"image": image}).tokens, expected.flatten(2).transpose(1, 2)
    )
    with pytest.raises(ConfigError, match=r"missing stages.2.blocks.0.attn.fc.bias"):
        build_backbone(config(ese="every", **chosen), image_hw=HW, bev_px=64)


def test_blocks_run_from_input_to_output() -> None:
    model = VoVNetBackbone(config(), image_hw=HW)
    calls: list[int] = []
    for number, block in enumerate(model.blocks()):
        block.register_forward_hook(lambda _m, _i, _o, number=number: calls.append(number))
    model.eval().encode({"image": torch.zeros(1, 3, *HW, dtype=torch.uint8)})
    assert calls == [0, 1, 2, 3, 4]


def test_image_smaller_than_the_stride_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"image_hw=\[16, 64\]` is too small"):
        VoVNetBackbone(config(), image_hw=(16, 64))


def test_wrong_number_of_stages_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"osa_channels=\[8\]` must be 4 positive numbers"):
        VoVNetBackbone(config(osa_channels=(8,)), image_hw=HW)
