"""How much of a core looking at processes may take. Pure."""

from __future__ import annotations

from dataclasses import dataclass

SHARE = 0.003
"""Part of one core that all looks may take in the long run."""
AT_ONCE_S = 0.3
"""CPU time that may be spent in advance [s]: a start has many phases worth a look."""
DEBT_S = 1.0
"""Looks that cannot wait are paid for later, up to so much CPU time [s]."""
CHEAP_SHARE = 0.001
"""Part of a core that each kind of cheap look may take; slow kernels are asked less often."""
BLIND_S = 5.0
"""Longest pause that slowness brings: what comes and goes in between was never there [s]."""


@dataclass
class Allowance:
    """CPU time that is given at a steady rate, and spent on looks."""

    now_s: float
    spent_s: float = 0.0
    """CPU time that was spent so far [s]."""
    _left_s: float = AT_ONCE_S

    def can(self, costs_s: float, now_s: float) -> bool:
        """Whether something that costs so much CPU time may be done now."""
        self._left_s = min(self._left_s + SHARE * (now_s - self.now_s), AT_ONCE_S)
        self.now_s = now_s
        return self._left_s >= min(costs_s, AT_ONCE_S)

    def spend(self, cost_s: float) -> None:
        """It was done."""
        self._left_s = max(self._left_s - cost_s, -DEBT_S)
        self.spent_s += cost_s


@dataclass
class Pace:
    """How often a cheap kind of look is taken."""

    _last_s: float = 0.0
    """What the last one cost."""

    def pause_s(self, wanted_s: float, cost_s: float) -> float:
        """The pause after a look that cost so much CPU time [s]; `wanted_s` unless looks are slow.

        One slow look is an accident, such as a kernel that is writing file pages back.
        """
        usual_s, self._last_s = min(cost_s, self._last_s), cost_s
        return max(wanted_s, min(usual_s / CHEAP_SHARE, BLIND_S))
