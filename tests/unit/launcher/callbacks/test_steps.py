"""Times of steps that nothing disturbs."""

from __future__ import annotations

import pytest

from launcher.callbacks.steps import WARM_UP, StepClock


class Waited:
    """How long was waited for data so far."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_the_first_steps_after_a_start_are_left_out() -> None:
    clock = StepClock(Waited())
    for now_s in (100.0, 150.0, 180.0, 181.0, 182.0, 183.5):
        clock.step(now_s)
    assert clock.steps == 6 - WARM_UP
    assert clock.step_s == pytest.approx(3.5 / 3)


def test_a_step_with_a_validation_or_a_checkpoint_before_it_is_left_out() -> None:
    clock = StepClock(Waited())
    for now_s in (0.0, 1.0, 2.0, 3.0):
        clock.step(now_s)
    clock.disturb()
    clock.step(60.0)
    clock.step(61.0)
    assert (clock.steps, clock.step_s) == (2, 1.0)


def test_only_waits_of_timed_steps_count() -> None:
    waited = Waited()
    clock = StepClock(waited)
    waited.seconds = 50.0  # the first batch
    for now_s in (60.0, 61.0, 62.0):
        clock.step(now_s)
    waited.seconds += 0.5
    clock.step(64.0)
    waited.seconds += 9.0
    clock.disturb()
    clock.step(90.0)
    clock.step(92.0)
    assert clock.wait_share == pytest.approx(0.5 / 4)


def test_without_a_timed_step_nothing_is_known() -> None:
    clock = StepClock(Waited())
    for now_s in (0.0, 1.0, 2.0):
        clock.step(now_s)
    assert (clock.step_s, clock.wait_share) == (None, None)
