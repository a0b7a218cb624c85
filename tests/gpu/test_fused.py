"""Tokens of a frozen encoder whose additions and norms are one pass are those of its blocks."""

from importlib import import_module

import pytest
import torch

from experiments.models import fused
from experiments.models.backbone import build_backbone
from experiments.models.ijepa import PatchEncoder
from tests.unit.experiments.models import tiny

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


@pytest.mark.parametrize("width", [32, 1000, 1280])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sum_and_norm_are_torchs(width: int, dtype: torch.dtype) -> None:
    x, y = (torch.randn(5, 7, width, device="cuda", dtype=dtype) for _ in range(2))
    add_norm = import_module("experiments.models.fused_kernel").add_norm
    norm = torch.nn.LayerNorm(width).to("cuda", dtype)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    total, normed = add_norm(x, y, norm.weight, norm.bias, norm.eps)
    assert torch.equal(total, x + y)
    # As near to the exact norm as torch's own, which rounds once as well.
    exact = torch.nn.functional.layer_norm(
        (x + y).double(), (width,), norm.weight.double(), norm.bias.double(), norm.eps
    )
    torch.testing.assert_close(normed.double(), exact, rtol=torch.finfo(dtype).eps, atol=1e-6)


def test_tokens_differ_by_rounding_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    config = tiny.ijepa(embed_dim=64, depth=4)
    backbone = build_backbone(config, image_hw=tiny.IMAGE_HW, bev_px=tiny.BEV_PX).eval()
    batch = {name: value.cuda() for name, value in tiny.batch(4).items()}
    encoder: PatchEncoder = backbone.cuda().encoder  # type: ignore[assignment]
    with torch.no_grad():
        exact = backbone(batch).tokens
        backbone.to(torch.bfloat16)
        assert fused.can_fuse(torch.zeros(1, device="cuda", dtype=torch.bfloat16), encoder.norm)
        together = backbone(batch).tokens.float()
        monkeypatch.setattr(fused, "can_fuse", lambda *_: False)
        alone = backbone(batch).tokens.float()
    error, usual = ((found - exact).square().mean().sqrt() for found in (together, alone))
    assert 0.0 < error < 1.1 * usual
