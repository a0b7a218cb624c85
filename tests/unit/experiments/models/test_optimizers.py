"""Schedules are a closed form of the step; vectors do not decay; deviations are told."""

from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from torch import nn
from torch.optim import SGD, Adam, AdamW

from experiments import settings
from experiments.models.optimizers import FULL_RATE, Rate, build_optimizer, lr_factor
from experiments.settings import ExperimentConfig, OptimizerConfig, from_config, recipe_deviations
from launcher.errors import ConfigError
from tests.programs import REPOSITORY

settings.register()
CONF = REPOSITORY / "conf"


def composed(*overrides: str) -> ExperimentConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return from_config(compose("config", list(overrides)))


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


def test_falling_schedules_end_at_their_share_and_stay_there() -> None:
    for schedule, middle in (("cosine", 0.55), ("linear", 0.55)):
        factor = lr_factor(OptimizerConfig(schedule=schedule, min_lr_share=0.1), 20)
        assert [factor(s) for s in (0, 10, 20, 99)] == pytest.approx([1.0, middle, 0.1, 0.1])
    assert lr_factor(OptimizerConfig(schedule="linear", warmup_steps=4), 20)(8) == 0.75


def test_rate_drops_at_shares_of_the_whole_run_and_not_below_its_floor() -> None:
    recipe = OptimizerConfig(
        schedule="step", milestones=(0.5, 0.8), step_factor=0.1, warmup_steps=2, min_lr_share=0.05
    )
    factor = lr_factor(recipe, 10)
    assert [factor(s) for s in (0, 1, 4, 5, 7, 8, 9)] == pytest.approx(
        [0.5, 1.0, 1.0, 0.1, 0.1, 0.05, 0.05]
    )


def test_one_cycle_rises_falls_and_has_no_step_backwards() -> None:
    factor = lr_factor(OptimizerConfig(schedule="one_cycle"), 100)
    values = [factor(s) for s in range(101)]
    assert values[0] == pytest.approx(1 / 25)
    assert (max(values), values.index(max(values))) == (1.0, 30)
    assert values[:31] == sorted(values[:31])
    assert values[30:] == sorted(values[30:], reverse=True)
    assert values[100] == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"schedule": "step", "milestones": (0.8, 0.5)}, "rising shares of the run"),
        ({"schedule": "step", "milestones": (60.0,)}, "rising shares of the run"),
        ({"schedule": "step", "milestones": ()}, "rising shares of the run"),
        ({"schedule": "one_cycle", "warmup_steps": 3}, "warmup_steps=3` with"),
        ({"schedule": "cosin"}, "optimizer.schedule=cosin` is not known"),
        ({"name": "sdg"}, "optimizer.name=sdg` is not known"),
        ({"min_lr_share": 1.0}, r"outside \[0, 1\)"),
        ({"momentum": -0.1}, r"outside \[0, 1\)"),
    ],
)
def test_recipes_that_mean_nothing_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        OptimizerConfig(**wrong)


def test_sgd_has_its_momentum() -> None:
    config = OptimizerConfig(name="sgd", momentum=0.7, lr=0.1)
    optimizer = build_optimizer(nn.Linear(3, 2).parameters(), config)
    assert type(optimizer) is SGD
    assert {group["momentum"] for group in optimizer.param_groups} == {0.7}


def test_parameters_of_equal_rate_share_their_groups() -> None:
    slow, fast = nn.Linear(3, 2), nn.Linear(2, 1)
    of = {id(p): Rate("slow", 0.5) for p in slow.parameters()}
    parameters = [*slow.parameters(), *fast.parameters()]
    optimizer = build_optimizer(
        parameters, OptimizerConfig(lr=0.2), lambda p: of.get(id(p), FULL_RATE)
    )
    assert [(g["name"], g["lr"]) for g in optimizer.param_groups] == [
        ("slow", 0.1),
        ("slow", 0.1),
        ("head", 0.2),
        ("head", 0.2),
    ]
    same = build_optimizer(parameters, OptimizerConfig(), lambda p: Rate(str(p.ndim), 1.0))
    assert [g["name"] for g in same.param_groups] == ["2+1", "2+1"]


def test_the_recipe_itself_has_no_deviations() -> None:
    for backbone in ("transfuser", "ijepa"):
        assert recipe_deviations(composed(f"backbone={backbone}")) == []


def test_another_recipe_is_told_key_by_key() -> None:
    config = composed("backbone=transfuser", "optimizer=adamw", "scale=paper", "optimizer.lr=0.01")
    assert recipe_deviations(config) == [
        "optimizer.name adamw instead of adam",
        "optimizer.lr 0.01 instead of 0.0001",
        "optimizer.weight_decay 0.01 instead of 0.0",
        "optimizer.schedule cosine instead of constant",
    ]


def test_fields_that_mean_nothing_here_are_no_deviation() -> None:
    assert recipe_deviations(composed("optimizer.momentum=0.5", "optimizer.milestones=[0.1]")) == []
    told = recipe_deviations(composed("optimizer.schedule=step", "optimizer.milestones=[0.1]"))
    assert told[-1] == "optimizer.milestones [0.1] instead of [0.6, 0.9]"


@pytest.mark.parametrize(
    "path", sorted(CONF.glob("optimizer/schedule/*.yaml")), ids=lambda p: p.stem
)
def test_schedules_are_a_group(path: Any) -> None:
    config = composed("optimizer=adamw", f"optimizer/schedule={path.stem}")
    assert config.optimizer.schedule == path.stem
    assert config.optimizer.name == "adamw"


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
