"""Threads beside a training have short turns while it lasts, and their own afterwards."""

import sys
from typing import Any

import pytest

from launcher.callbacks.turns import TURN_S, ShortTurns

NOBODY: Any = None


@pytest.mark.parametrize(("before_s", "during_s"), [(0.005, TURN_S), (0.0001, 0.0001)])
def test_turns_are_short_while_a_trainer_works(before_s: float, during_s: float) -> None:
    own = sys.getswitchinterval()
    try:
        sys.setswitchinterval(before_s)
        turns = ShortTurns()
        turns.setup(NOBODY, NOBODY, "fit")
        assert sys.getswitchinterval() == pytest.approx(during_s, abs=2e-6)
        turns.teardown(NOBODY, NOBODY, "fit")
        assert sys.getswitchinterval() == pytest.approx(before_s, abs=2e-6)
        turns.teardown(NOBODY, NOBODY, "fit")
        assert sys.getswitchinterval() == pytest.approx(before_s, abs=2e-6)
    finally:
        sys.setswitchinterval(own)
