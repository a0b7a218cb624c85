"""Frozen means frozen: no mode, gradient, optimiser or checkpoint reaches the backbone."""

import pytest
import torch
from torch import nn

from experiments.models import FrozenBackbone, build_backbone, check
from experiments.settings import BackboneConfig, FinetuneConfig
from tests.unit.experiments.models import tiny

# Lightning says so wherever SLURM is installed and a test is not started by it.
pytestmark = pytest.mark.filterwarnings("ignore:The `srun` command is available")

BOTH = [tiny.transfuser(), tiny.ijepa()]
FROZEN = FinetuneConfig(policy="frozen")
FULL = FinetuneConfig(policy="full")


def frozen(config: BackboneConfig) -> FrozenBackbone:
    return FrozenBackbone(build_backbone(config, image_hw=tiny.IMAGE_HW, bev_px=tiny.BEV_PX))


@pytest.mark.parametrize("config", BOTH, ids=lambda c: c.name)
def test_frozen_backbone_survives_training_untouched(config: BackboneConfig) -> None:
    module = tiny.planning(config, "frozen", name="adamw", weight_decay=0.1)
    backbone = module.backbone
    assert isinstance(backbone, FrozenBackbone)
    before = {name: value.clone() for name, value in backbone.inner.state_dict().items()}
    head = [p.clone() for p in module.head.parameters()]
    run = tiny.fit(module, max_steps=2)
    module.train()
    assert not any(m.training for m in backbone.inner.modules())
    check(FROZEN, backbone, run.optimizers[0])
    for name, value in backbone.inner.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert any(
        not torch.equal(p, old) for p, old in zip(module.head.parameters(), head, strict=True)
    )


@pytest.mark.parametrize("config", BOTH, ids=lambda c: c.name)
def test_frozen_weights_are_in_no_state_and_the_rest_loads_strictly(
    config: BackboneConfig,
) -> None:
    module, other = tiny.planning(config, "frozen"), tiny.planning(config, "frozen", seed=7)
    state = module.state_dict()
    assert state.keys() == {f"head.{name}" for name in module.head.state_dict()}
    other.load_state_dict(state, strict=True)
    incomplete = dict(list(state.items())[1:])
    with pytest.raises(RuntimeError, match="Missing key"):
        other.load_state_dict(incomplete, strict=True)


def test_ddp_sees_no_frozen_parameter_or_buffer() -> None:
    backbone = frozen(tiny.transfuser())
    assert not list(backbone.parameters())
    assert not list(backbone.buffers())


def test_frozen_tokens_have_no_graph_but_feed_one() -> None:
    module = tiny.planning(tiny.ijepa(), "frozen")
    batch = tiny.batch(2)
    with torch.inference_mode():
        module(batch)
    tokens = module.backbone(batch).tokens
    assert not tokens.requires_grad
    assert not tokens.is_inference()
    module(batch).trajectory.sum().backward()
    assert all(p.grad is not None for p in module.head.parameters())


def test_frozen_backbone_moves_with_its_module() -> None:
    module = tiny.planning(tiny.ijepa(), "frozen")
    assert isinstance(module.backbone, FrozenBackbone)
    module.to(torch.float64)
    assert {p.dtype for p in module.backbone.inner.parameters()} == {torch.float64}
    assert module.backbone(tiny.batch(1)).tokens.dtype == torch.float64


@pytest.mark.parametrize("config", BOTH, ids=lambda c: c.name)
def test_digest_changes_with_any_weight_or_buffer(config: BackboneConfig) -> None:
    backbone = frozen(config)
    before = backbone.digest()
    assert backbone.digest() == before
    value = list(backbone.inner.state_dict().values())[-1]
    value.add_(1)
    assert backbone.digest() != before


def test_full_policy_puts_every_parameter_into_the_optimizer() -> None:
    module = tiny.planning(tiny.transfuser(), "full")
    optimizer = module.configure_optimizers()["optimizer"]
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in module.parameters()}


@pytest.mark.parametrize("damage", ["unfreeze", "train", "optimize"])
def test_check_notices_a_thawed_backbone(damage: str) -> None:
    module = tiny.planning(tiny.ijepa(), "frozen")
    assert isinstance(module.backbone, FrozenBackbone)
    optimizer = module.configure_optimizers()["optimizer"]
    parameter = next(module.backbone.inner.parameters())
    if damage == "unfreeze":
        parameter.requires_grad_(True)
    elif damage == "train":
        module.backbone.inner.train()
    else:
        optimizer.add_param_group({"params": [parameter]})
    with pytest.raises(RuntimeError, match=r"finetune.policy=frozen is broken"):
        check(FROZEN, module.backbone, optimizer)


def test_check_notices_a_parameter_that_does_not_learn() -> None:
    module = tiny.planning(tiny.ijepa(), "full")
    next(iter(module.backbone.blocks()[0].parameters())).requires_grad_(False)
    with pytest.raises(RuntimeError, match=r"`encoder.blocks.0.norm1.weight` does not learn"):
        module.configure_optimizers()


def test_check_notices_a_backbone_that_was_never_frozen() -> None:
    module = tiny.planning(tiny.ijepa(), "full")
    optimizer = torch.optim.Adam(nn.Linear(1, 1).parameters())
    with pytest.raises(RuntimeError, match="the backbone is not frozen"):
        check(FROZEN, module.backbone, optimizer)
