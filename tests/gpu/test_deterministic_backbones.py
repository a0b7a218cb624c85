"""On a GPU, too, every backbone learns with deterministic algorithms alone, bit by bit the same."""

from collections.abc import Iterator, Mapping

import pytest
import torch
from torch import Tensor, nn

from experiments.models import IJepaPretraining, build_backbone
from experiments.models.heads.transfuser import TransFuserHead
from experiments.settings import SENSORS_OF, HeadConfig
from tests.unit.experiments.models import tiny
from tests.unit.experiments.models.test_backbones import build

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
DEVICE = "cuda"


@pytest.fixture(autouse=True)
def _deterministic(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def on_device(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.to(DEVICE) for name, value in batch.items()}


def gradients(module: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def assert_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


@pytest.mark.parametrize("is_filled", [True, False])
@pytest.mark.parametrize("name", [name for name in SENSORS_OF if name != "blind"])
def test_gradients_of_a_backbone_repeat(
    name: str, is_filled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", is_filled)
    backbone = build(name).to(DEVICE)
    if backbone.is_convolutional:
        backbone.to(memory_format=torch.channels_last)
    batch, found = on_device(tiny.batch(4)), []
    for _ in range(2):
        torch.manual_seed(0)
        backbone.zero_grad()
        with torch.autocast(DEVICE, dtype=torch.bfloat16):
            loss = backbone(batch).tokens.float().square().mean()
        torch.autograd.backward(loss)
        found.append(gradients(backbone))
    assert_same(*found)


def test_gradients_of_the_published_losses_repeat() -> None:
    config = tiny.transfuser(auxiliary="navsim", bev_channels=8)
    backbone = build_backbone(config, image_hw=tiny.IMAGE_HW, bev_px=64)
    sizes = {"dim": 16, "num_heads": 2, "ffn_dim": 32, "num_layers": 1}
    head = TransFuserHead(HeadConfig(name="transfuser", **sizes), backbone.spec)
    planner = nn.ModuleList([backbone, head]).to(DEVICE)
    labels = {
        "bev_semantics": torch.randint(0, 7, (4, 32, 64), dtype=torch.uint8),
        "agent_states": torch.randn(4, 30, 5),
        "agent_labels": torch.rand(4, 30) > 0.5,
    }
    batch, found = on_device(tiny.batch(4) | labels), []
    for _ in range(2):
        torch.manual_seed(0)
        planner.zero_grad()
        encoded = backbone(batch)
        terms = head.loss(head(encoded.tokens, batch["status"]), batch)
        terms |= backbone.auxiliary_loss(encoded, batch)
        torch.autograd.backward(torch.stack(list(terms.values())).sum())
        found.append(gradients(planner))
    assert_same(*found)


def test_gradients_of_the_pretraining_repeat() -> None:
    module = IJepaPretraining(tiny.ijepa(), image_hw=tiny.IMAGE_HW).to(DEVICE)
    image, found = tiny.batch(8)["image"].to(DEVICE), []
    masks = module.masks(0, 8).to(image.device)
    for _ in range(2):
        module.zero_grad()
        with torch.autocast(DEVICE, dtype=torch.bfloat16):
            loss = module.loss(image, masks, module.targets(image))
        torch.autograd.backward(loss)
        found.append(gradients(module))
    assert_same(*found)
