"""Policies by block index: what learns, how fast, and that the rest is really left alone."""

import hashlib

import pytest
import torch
from torch import nn

from experiments.models import FrozenBackbone, build_backbone
from experiments.models.ema import averaged
from experiments.models.finetune import (
    PartlyFrozenBackbone,
    apply_policy,
    backbone_rates,
    check,
    frozen_digest,
    frozen_parameters,
)
from experiments.models.finetune_guard import PolicyGuard
from experiments.models.finetune_layout import Layout
from experiments.models.planning import PlanningModule
from experiments.models.pooling import PooledBackbone
from experiments.settings import BackboneConfig, FinetuneConfig
from launcher.errors import ConfigError
from tests.unit.experiments.models import tiny
from tests.unit.experiments.models.tuned import configured, planner

pytestmark = pytest.mark.filterwarnings("ignore:The `srun` command is available")

BOTH = [tiny.transfuser(), tiny.ijepa()]
LAST = FinetuneConfig(policy="last_n", blocks=1, lr_scale=0.1)
DECAY = FinetuneConfig(policy="layerwise_decay", layer_decay=0.5)


def partly(module: PlanningModule) -> PartlyFrozenBackbone:
    assert isinstance(module.backbone, PartlyFrozenBackbone)
    return module.backbone


def learning_names(config: BackboneConfig, blocks: int) -> set[str]:
    module = planner(config, FinetuneConfig(policy="last_n", blocks=blocks))
    return {name for name, _ in module.backbone.named_parameters()}


# ---- last_n -----------------------------------------------------------------------------------


def test_last_block_and_final_norm_of_a_vit_learn_and_the_patch_embedding_does_not() -> None:
    names = {name.rsplit(".", 1)[0] for name in learning_names(tiny.ijepa(depth=3), 1)}
    assert {"encoder.norm", "encoder.blocks.2.norm1"} <= names
    assert all(n == "encoder.norm" or n.startswith("encoder.blocks.2.") for n in names)


def test_last_stage_of_both_branches_and_its_fusion_learn_and_no_stem_does() -> None:
    one, all_four = learning_names(tiny.transfuser(), 1), learning_names(tiny.transfuser(), 4)
    assert {".".join(name.split(".")[:2]) for name in one} == {
        "image.layer4",
        "lidar.layer4",
        "fusions.3",
    }
    assert one < all_four
    assert not any(".conv1.weight" in n or ".bn1." in n for n in all_four if n.count(".") == 2)


def test_auxiliary_heads_learn_with_the_last_stage() -> None:
    names = learning_names(tiny.transfuser(auxiliary="navsim"), 1)
    assert any(name.startswith("semantics.") for name in names)


@pytest.mark.parametrize("config", BOTH, ids=lambda c: c.name)
def test_frozen_blocks_survive_training_untouched_and_the_last_one_learns(
    config: BackboneConfig,
) -> None:
    module = planner(config, LAST, name="adamw", weight_decay=0.1, lr=1e-2)
    backbone = partly(module)
    before = {name: value.clone() for name, value in backbone.whole.state_dict().items()}
    run = tiny.fit(module, max_steps=2, callbacks=[PolicyGuard()])
    assert all(m.training for m in backbone.modules())  # a Trainer leaves modes as they are
    module.train()
    check(LAST, backbone, run.optimizers[0])
    learning = backbone.state_dict().keys()
    after = backbone.whole.state_dict()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed
    assert changed <= learning
    own = {id(m) for m in backbone.modules()}
    assert not any(m.training for m in backbone.whole.modules() if id(m) not in own)


@pytest.mark.parametrize("config", BOTH, ids=lambda c: c.name)
def test_checkpoint_and_ddp_see_what_learns_below_its_names_in_the_whole_backbone(
    config: BackboneConfig,
) -> None:
    module, whole = planner(config, LAST), planner(config, FinetuneConfig())
    backbone = partly(module)
    assert all(p.requires_grad for p in module.parameters())
    assert not {id(p) for p in module.parameters()} & {id(p) for p in frozen_parameters(backbone)}
    state = module.state_dict()
    assert state.keys() < whole.state_dict().keys()
    assert len([n for n in state if n.startswith("backbone.")]) == len(backbone.state_dict())
    planner(config, LAST, seed=7).load_state_dict(state, strict=True)
    total = len(list(backbone.whole.parameters()))
    assert len(frozen_parameters(backbone)) == total - len(list(backbone.parameters())) > 0


def test_average_holds_nothing_that_is_frozen() -> None:
    module = planner(tiny.transfuser(), LAST)
    frozen = {id(value) for value in frozen_parameters(module.backbone)}
    kept = averaged(module)
    assert not frozen & {id(value) for value in kept.values()}
    assert kept.keys() <= module.state_dict().keys()
    assert averaged(planner(tiny.ijepa(), FinetuneConfig(policy="frozen"))).keys() == {
        f"head.{name}" for name, _ in planner(tiny.ijepa(), LAST).head.named_parameters()
    }


def test_tokens_are_those_of_the_whole_backbone() -> None:
    torch.manual_seed(0)
    whole = build_backbone(tiny.ijepa(), image_hw=tiny.IMAGE_HW, bev_px=tiny.BEV_PX)
    batch = tiny.batch(2)
    expected = whole(batch).tokens
    tokens = apply_policy(LAST, whole)(batch).tokens
    assert torch.equal(tokens, expected)
    assert tokens.requires_grad


def test_wrapped_backbone_may_call_its_parts_as_the_wrapper_calls_its_own() -> None:
    backbone = build_backbone(tiny.ijepa(), image_hw=tiny.IMAGE_HW, bev_px=tiny.BEV_PX)
    held = apply_policy(LAST, PooledBackbone(backbone, (2, 2)))
    assert {n.split(".")[0] for n in held.state_dict()} == {"inner"}
    assert held(tiny.batch(1)).tokens.shape == (1, 4, 32)


def test_partly_frozen_backbone_moves_with_its_module() -> None:
    module = planner(tiny.ijepa(), LAST).to(torch.float64)
    assert {p.dtype for p in partly(module).whole.parameters()} == {torch.float64}
    assert module.backbone(tiny.batch(1)).tokens.dtype == torch.float64


@pytest.mark.parametrize(("blocks", "config"), [(5, tiny.transfuser()), (3, tiny.ijepa())])
def test_more_blocks_than_there_are_are_refused_with_the_legal_range(
    blocks: int, config: BackboneConfig
) -> None:
    with pytest.raises(ConfigError, match=f"finetune.blocks={blocks}.*{blocks - 1} blocks") as e:
        planner(config, FinetuneConfig(policy="last_n", blocks=blocks))
    assert f"legal: 1 to {blocks - 1}" in str(e.value.hint)


def test_no_blocks_and_impossible_rates_are_refused() -> None:
    for wrong in ({"blocks": 0}, {"lr_scale": 0.0}, {"layer_decay": 1.5}, {"policy": "last"}):
        with pytest.raises(ConfigError):
            FinetuneConfig(**wrong)
    with pytest.raises(ConfigError, match="0 blocks") as e:
        planner(BackboneConfig(name="blind"), LAST)
    assert "finetune=full" in str(e.value.hint)


# ---- digests ----------------------------------------------------------------------------------


def test_digest_of_a_partly_frozen_backbone_sees_frozen_weights_only() -> None:
    backbone = partly(planner(tiny.ijepa(), LAST))
    before = backbone.digest()
    with torch.no_grad():
        next(iter(backbone.parameters())).add_(1)
    assert backbone.digest() == before
    with torch.no_grad():
        frozen_parameters(backbone)[0].add_(1)
    assert backbone.digest() != before == frozen_digest(partly(planner(tiny.ijepa(), LAST)))
    assert frozen_digest(planner(tiny.ijepa(), FinetuneConfig()).backbone) is None


def test_digest_of_a_frozen_backbone_is_what_older_checkpoints_hold() -> None:
    backbone = planner(tiny.ijepa(), FinetuneConfig(policy="frozen")).backbone
    assert isinstance(backbone, FrozenBackbone)
    total = hashlib.sha256()
    for name, value in sorted(backbone.inner.state_dict().items()):
        total.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        total.update(value.contiguous().numpy().tobytes())
    assert backbone.digest() == total.hexdigest()


# ---- rates ------------------------------------------------------------------------------------


def scale_by_name(module: PlanningModule) -> dict[str, float]:
    optimizer = configured(module)["optimizer"]
    scales = {id(p): g["lr_scale"] for g in optimizer.param_groups for p in g["params"]}
    for group in optimizer.param_groups:
        assert group["initial_lr"] == pytest.approx(1e-3 * group["lr_scale"])
    return {name: scales[id(p)] for name, p in module.named_parameters()}


def test_rates_decay_from_the_head_to_the_patch_embedding() -> None:
    scales = scale_by_name(planner(tiny.ijepa(depth=3), DECAY))
    assert scales["backbone.encoder.patch_embed.proj.weight"] == 0.5**4
    assert [scales[f"backbone.encoder.blocks.{i}.mlp.fc1.weight"] for i in range(3)] == [
        0.5**3,
        0.5**2,
        0.5,
    ]
    assert scales["backbone.encoder.norm.weight"] == 1.0
    assert {scale for name, scale in scales.items() if name.startswith("head.")} == {1.0}


def test_rates_of_a_two_branch_backbone_decay_by_stage_whatever_the_order_of_its_modules() -> None:
    scales = scale_by_name(planner(tiny.transfuser(), DECAY))
    for branch in ("image", "lidar"):
        assert scales[f"backbone.{branch}.conv1.weight"] == 0.5**5
        assert scales[f"backbone.{branch}.layer1.0.conv1.weight"] == 0.5**4
        assert scales[f"backbone.{branch}.layer4.0.conv1.weight"] == 0.5
    assert scales["backbone.fusions.1.transformer.positions"] == 0.5**3


@pytest.mark.parametrize("policy", [DECAY, LAST, FinetuneConfig(lr_scale=0.3)])
def test_vectors_do_not_decay_under_any_policy(policy: FinetuneConfig) -> None:
    module = planner(tiny.ijepa(), policy, name="adamw", weight_decay=0.1)
    for group in configured(module)["optimizer"].param_groups:
        is_matrix = {p.ndim > 1 for p in group["params"]}
        assert len(is_matrix) == 1
        assert group["weight_decay"] == (0.1 if is_matrix.pop() else 0.0)


@pytest.mark.parametrize("policy", [FinetuneConfig(lr_scale=0.1), LAST])
def test_backbone_learns_slower_than_the_head(policy: FinetuneConfig) -> None:
    scales = scale_by_name(planner(tiny.ijepa(), policy))
    assert {s for n, s in scales.items() if n.startswith("backbone.")} == {0.1}
    assert {s for n, s in scales.items() if n.startswith("head.")} == {1.0}


def test_optimizer_states_saved_before_there_were_rates_are_loaded() -> None:
    module = planner(tiny.ijepa(), FinetuneConfig())
    learning = list(module.parameters())
    old = torch.optim.Adam(
        [
            {"params": [p for p in learning if p.ndim > 1], "weight_decay": 0.0},
            {"params": [p for p in learning if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=1e-3,
    )
    optimizer = configured(module)["optimizer"]
    optimizer.load_state_dict(old.state_dict())
    check(FinetuneConfig(), module.backbone, optimizer)


# ---- structure --------------------------------------------------------------------------------


def test_every_parameter_has_one_depth_and_one_rate() -> None:
    for config in BOTH:
        backbone = build_backbone(config, image_hw=tiny.IMAGE_HW, bev_px=tiny.BEV_PX)
        depths = list(Layout(backbone).parameters())
        assert [id(p) for p, _ in depths] == [id(p) for p in backbone.parameters()]
        assert backbone_rates(DECAY, backbone).keys() == {id(p) for p in backbone.parameters()}
        assert all(isinstance(p, nn.Parameter) for p, _ in depths)
