"""The I-JEPA encoder has the published size, no class token, and keeps patches in order."""

import math

import pytest
import torch

from experiments.models import IJepaBackbone
from experiments.models.ijepa import PatchEncoder
from experiments.models.positions import sincos_positions
from experiments.settings import BackboneConfig
from launcher.errors import ConfigError
from tests.unit.experiments.models import tiny


def test_vit_huge_saves_the_published_number_of_values() -> None:
    with torch.device("meta"):
        encoder = PatchEncoder(BackboneConfig(name="ijepa"), (224, 224))
    learned = sum(p.numel() for p in encoder.parameters())
    published = sum(value.numel() for value in encoder.state_dict().values())
    # The published number counts the fixed position table, which cannot learn here.
    assert published == 630_762_240
    assert published - learned == 256 * 1280
    assert len(encoder.blocks) == 32


def test_every_patch_becomes_a_token() -> None:
    model = IJepaBackbone(tiny.ijepa(), image_hw=tiny.IMAGE_HW)
    tokens = model.encode(tiny.batch(2)).tokens
    assert model.spec.grid_hw == tiny.GRID_HW
    assert tokens.shape == (2, 64, 32)
    assert model.spec.sensors == {"image"}
    assert len(model.blocks()) == 2


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 15), (2, 5), (3, 1)])
def test_tokens_follow_the_image_row_by_row(row: int, column: int) -> None:
    model = IJepaBackbone(tiny.ijepa(), image_hw=tiny.IMAGE_HW).eval()
    image = torch.full((1, 3, *tiny.IMAGE_HW), 128, dtype=torch.uint8)
    changed = image.clone()
    changed[..., row * 12 : (row + 1) * 12, column * 12 : (column + 1) * 12] = 255
    with torch.no_grad():
        difference = model.encode({"image": changed}).tokens - model.encode({"image": image}).tokens
    assert difference.norm(dim=-1).argmax() == row * 16 + column


def test_visible_patches_are_picked_before_attention() -> None:
    encoder = PatchEncoder(tiny.ijepa(), tiny.IMAGE_HW).eval()
    image = tiny.batch(1)["image"]
    hidden = image.clone()
    hidden[..., 96:] = 0
    left = torch.tensor([[0, 3, 16, 17]])
    torch.testing.assert_close(encoder(image, left), encoder(hidden, left))
    assert not torch.allclose(encoder(image)[:, left[0]], encoder(image, left), atol=1e-3)


def test_each_image_shows_its_own_patches() -> None:
    encoder = PatchEncoder(tiny.ijepa(), tiny.IMAGE_HW).eval()
    images = tiny.batch(2)["image"]
    visible = torch.tensor([[0, 5, 40], [7, 8, 63]])
    together = encoder(images, visible)
    for image, patches, tokens in zip(images, visible, together, strict=True):
        torch.testing.assert_close(tokens, encoder(image[None], patches[None])[0])


def test_pixels_are_standardised_with_imagenet_statistics() -> None:
    encoder = PatchEncoder(tiny.ijepa(), tiny.IMAGE_HW)
    seen: list[torch.Tensor] = []
    encoder.patch_embed.register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    encoder(torch.full((1, 3, *tiny.IMAGE_HW), 255, dtype=torch.uint8))
    expected = torch.tensor([(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225])
    torch.testing.assert_close(seen[0][0, :, 0, 0], expected)


def test_positions_encode_column_first_then_row() -> None:
    table = sincos_positions(8, (2, 3))[0]
    row, column = 1, 2
    token = table[row * 3 + column]
    expected = [
        *(math.sin(column), math.sin(column / 100), math.cos(column), math.cos(column / 100)),
        *(math.sin(row), math.sin(row / 100), math.cos(row), math.cos(row / 100)),
    ]
    torch.testing.assert_close(token, torch.tensor(expected))
    assert len({tuple(t.tolist()) for t in table}) == 6


def test_stretched_positions_stay_within_the_trained_grid() -> None:
    wide = sincos_positions(8, (4, 16), trained_hw=(4, 4))[0].view(4, 16, 8)
    square = sincos_positions(8, (4, 4))[0].view(4, 4, 8)
    # Four fine columns share a trained column; its centre lies between the middle two.
    middle = (wide[:, 5, :4] + wide[:, 6, :4]) / 2
    torch.testing.assert_close(middle, square[:, 1, :4], atol=0.01, rtol=0)
    torch.testing.assert_close(wide[:, 5, 4:], square[:, 1, 4:])


def test_image_that_patches_cannot_tile_is_refused_with_the_nearest_sizes() -> None:
    with pytest.raises(ConfigError) as refusal:
        IJepaBackbone(tiny.ijepa(patch_px=14), image_hw=(256, 1022))
    assert "data.image_hw=[256, 1022]" in refusal.value.message
    assert refusal.value.hint == "nearest legal sizes: height 252 or 266, width 1022"


def test_width_that_heads_cannot_share_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"embed_dim=32` does not fit `backbone.num_heads=3`"):
        IJepaBackbone(tiny.ijepa(num_heads=3), image_hw=tiny.IMAGE_HW)
