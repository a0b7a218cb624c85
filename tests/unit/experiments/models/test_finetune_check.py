"""What breaks a fine-tuning policy is noticed, before training and after its first step."""

from typing import Any

import pytest
import torch
from pytorch_lightning import Callback

from experiments.models.finetune import PartlyFrozenBackbone, check, frozen_parameters
from experiments.models.finetune_guard import PolicyGuard
from experiments.models.planning import PlanningModule
from experiments.settings import FinetuneConfig
from tests.unit.experiments.models import tiny
from tests.unit.experiments.models.tuned import configured, planner

pytestmark = pytest.mark.filterwarnings("ignore:The `srun` command is available")

LAST = FinetuneConfig(policy="last_n", blocks=1, lr_scale=0.1)
DECAY = FinetuneConfig(policy="layerwise_decay", layer_decay=0.5)


def damage_last(module: PlanningModule, optimizer: torch.optim.Optimizer, kind: str) -> None:
    backbone = module.backbone
    assert isinstance(backbone, PartlyFrozenBackbone)
    frozen = frozen_parameters(backbone)[0]
    learning = next(iter(backbone.parameters()))
    if kind == "unfreeze":
        frozen.requires_grad_(True)
    elif kind == "train":
        backbone.whole.train()
    elif kind == "optimize":
        optimizer.add_param_group({"params": [frozen]})
    elif kind == "freeze":
        learning.requires_grad_(False)
    else:
        optimizer.param_groups[0]["lr_scale"] = 0.5


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("unfreeze", "`encoder.patch_embed.proj.weight` learns"),
        ("train", "is in training mode"),
        ("optimize", "`encoder.patch_embed.proj.weight` learns"),
        ("freeze", "does not learn"),
        ("rate", "learns at 0.5 of the rate, not 0.1"),
    ],
)
def test_check_notices_what_breaks_a_partly_frozen_backbone(kind: str, said: str) -> None:
    module = planner(tiny.ijepa(), LAST)
    optimizer = configured(module)["optimizer"]
    damage_last(module, optimizer, kind)
    with pytest.raises(RuntimeError, match=f"finetune.policy=last_n is broken: .*{said}"):
        check(LAST, module.backbone, optimizer)


def test_check_notices_first_blocks_that_were_never_frozen_and_rates_that_were_never_set() -> None:
    module = planner(tiny.ijepa(), FinetuneConfig())
    optimizer = torch.optim.Adam(module.parameters())
    with pytest.raises(RuntimeError, match="the first blocks are not frozen"):
        check(LAST, module.backbone, optimizer)
    with pytest.raises(RuntimeError, match=r"learns at 1 of the rate, not 0\.125"):
        check(DECAY, module.backbone, optimizer)


class Thaw(Callback):
    """Puts the frozen backbone into training mode after the first step."""

    def on_train_batch_start(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        pl_module.backbone.inner.train()


def test_guard_ends_a_training_whose_frozen_part_changed_its_mode() -> None:
    module = planner(tiny.ijepa(), FinetuneConfig(policy="frozen"))
    with pytest.raises(RuntimeError, match="in training mode"):
        tiny.fit(module, max_steps=2, callbacks=[Thaw(), PolicyGuard()])
