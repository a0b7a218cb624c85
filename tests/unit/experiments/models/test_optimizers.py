"""Schedules are a closed form of the step; vectors do not decay."""

import pytest
from torch import nn
from torch.optim import Adam, AdamW

from experiments.models.optimizers import build_optimizer, lr_factor
from experiments.settings import OptimizerConfig
from launcher.errors import ConfigError


def test_cosine_warms_up_and_ends_at_zero() -> None:
    factor = lr_factor(OptimizerConfig(schedule="cosine", warmup_steps=4), 20)
    assert [factor(s) for s in range(5)] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert factor(12) == pytest.approx(0.5)
    assert factor(20) == pytest.approx(0.0)
    assert factor(21) == pytest.approx(0.0)


def test_constant_schedule_stays_after_its_warm_up() -> None:
    factor = lr_factor(OptimizerConfig(warmup_steps=2), 10)
    assert [factor(s) for s in (0, 1, 2, 9)] == pytest.approx([0.5, 1.0, 1.0, 1.0])


def test_warm_up_longer_than_the_run_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"warmup_steps=10` leaves nothing"):
        lr_factor(OptimizerConfig(warmup_steps=10), 10)


@pytest.mark.parametrize(("name", "kind"), [("adam", Adam), ("adamw", AdamW)])
def test_named_optimizer_is_built(name: str, kind: type) -> None:
    config = OptimizerConfig(name=name, lr=0.02, weight_decay=0.1)
    optimizer = build_optimizer(nn.Linear(3, 2).parameters(), config)
    assert type(optimizer) is kind
    assert [g["weight_decay"] for g in optimizer.param_groups] == [0.1, 0.0]
    assert [g["lr"] for g in optimizer.param_groups] == [0.02, 0.02]


def test_parameters_that_do_not_learn_are_left_out() -> None:
    layers = nn.Sequential(nn.Linear(3, 2).requires_grad_(False), nn.Linear(2, 1))
    optimizer = build_optimizer(layers.parameters(), OptimizerConfig())
    assert sum(len(g["params"]) for g in optimizer.param_groups) == 2
