"""Schedules of the pretraining follow the released recipe and need nothing but the step."""

import math

import pytest

from experiments.models.ijepa_schedules import learning_rate, momentum, weight_decay
from experiments.settings import PretrainConfig
from launcher.errors import ConfigError

RELEASED = PretrainConfig(steps=300)
"""With one step standing for an epoch."""


def test_learning_rate_warms_up_from_its_start_and_ends_on_its_floor() -> None:
    config = PretrainConfig(steps=300, warmup_share=40 / 300)
    rates = [learning_rate(config, step) for step in range(300)]
    assert rates[0] == pytest.approx(2e-4 + (1e-3 - 2e-4) / 40)
    assert rates[39] == max(rates) == 1e-3
    halfway = 40 + 260 // 2 - 1
    assert rates[halfway] == pytest.approx((1e-3 + 1e-6) / 2)
    assert rates[299] == pytest.approx(1e-6)
    assert rates[:40] == sorted(rates[:40])
    assert rates[39:] == sorted(rates[39:], reverse=True)


def test_weight_decay_rises_along_a_cosine_to_its_end() -> None:
    decays = [weight_decay(RELEASED, step) for step in range(300)]
    assert decays[0] == pytest.approx(0.04, abs=1e-4)
    assert decays[149] == pytest.approx(0.22)
    assert decays[299] == pytest.approx(0.4)
    expected = 0.4 + (0.04 - 0.4) * 0.5 * (1 + math.cos(math.pi * 0.25))
    assert decays[74] == pytest.approx(expected)


def test_momentum_rises_linearly_to_one_and_stays() -> None:
    values = [momentum(PretrainConfig(steps=10, ema_start=0.9), s) for s in (0, 5, 10, 11)]
    assert values == pytest.approx([0.9, 0.95, 1.0, 1.0])


def test_run_of_one_step_has_a_schedule() -> None:
    one = PretrainConfig(steps=1)
    assert learning_rate(one, 0) == pytest.approx(1e-6)
    assert weight_decay(one, 0) == pytest.approx(0.4)


@pytest.mark.parametrize("change", [{"ema_start": 1.0}, {"warmup_share": -0.1}, {"steps": 0}])
def test_values_out_of_range_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"backbone.pretrain.{next(iter(change))}="):
        PretrainConfig(**change)  # type: ignore[arg-type]
