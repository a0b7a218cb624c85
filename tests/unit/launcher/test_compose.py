"""What runs require, from overrides to composed runs."""

from __future__ import annotations

import pytest

from launcher.compose import WantedRun
from launcher.errors import ConfigError
from tests.unit.composing import composer, current_config  # noqa: F401 a fixture

pytestmark = pytest.mark.usefixtures("current_config")


def composed(**requirements: str) -> WantedRun:
    """A run with requirements, each given by overrides between blanks, which require nothing."""
    nothing = [f"+requires.{label}=null" for label in requirements]
    overrides = [
        f"+requires.{label}=" + str([*nothing, *text.split()]).replace('"', "'")
        for label, text in requirements.items()
    ]
    asked = [*overrides, "data.split_seed=1"]
    return composer().runs([asked], 0)[0]


def required(run: WantedRun) -> dict[str, int]:
    return {label: needed.config.data.split_seed for label, needed in run.requires.items()}


def test_a_requirement_is_one_run_under_its_own_name() -> None:
    assert required(composed(first="data.split_seed=2")) == {"first": 2}


def test_a_requirement_that_sweeps_is_a_run_for_each_choice() -> None:
    run = composed(part="data.split_seed=5,3,4", other="data.split_seed=9")
    assert required(run) == {"part/0": 5, "part/1": 3, "part/2": 4, "other": 9}
    assert len({needed.key for needed in run.requires.values()}) == 4


def test_sweeps_over_several_keys_multiply() -> None:
    run = composed(part="data.split_seed=range(1,3) trainer.seed=7,8")
    configs = [needed.config for needed in run.requires.values()]
    points = [(config.data.split_seed, config.trainer.seed) for config in configs]
    assert points == [(1, 7), (1, 8), (2, 7), (2, 8)]
    assert list(run.requires) == ["part/0", "part/1", "part/2", "part/3"]


def test_lists_are_no_sweeps() -> None:
    run = composed(part="data.split_seed=2 head.pool_hw=[1,2]")
    assert list(run.requires) == ["part"]
    assert run.requires["part"].config.head.pool_hw == [1, 2]


def test_a_range_without_end_of_choices_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"`requires\.part` sweeps over all values of a range"):
        composed(part="data.split_seed=interval(1,3)")
