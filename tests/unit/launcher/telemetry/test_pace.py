"""How often cheap looks are taken where the kernel is slow."""

from launcher.telemetry.allowance import BLIND_S, CHEAP_SHARE, Pace


def test_quick_looks_are_taken_as_often_as_wanted() -> None:
    pace = Pace()
    assert [pace.pause_s(0.2, 0.0001) for _ in range(3)] == [0.2] * 3


def test_one_slow_look_does_not_make_blind() -> None:
    pace = Pace()
    assert [pace.pause_s(0.2, cost_s) for cost_s in (0.0001, 0.02, 0.0001)] == [0.2] * 3


def test_looks_that_stay_slow_are_taken_less_often() -> None:
    pace = Pace()
    pace.pause_s(0.2, 0.002)
    assert pace.pause_s(0.2, 0.001) == 0.001 / CHEAP_SHARE


def test_no_slowness_makes_blind_for_long() -> None:
    pace = Pace()
    pace.pause_s(0.2, 1.0)
    assert pace.pause_s(0.2, 1.0) == BLIND_S
