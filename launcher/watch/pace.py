"""How long this rank usually takes from one mark to the next, and how long is too long. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from launcher.settings import RecoveryConfig

Mark = tuple[str, int | None, float]
"""Phase, step and monotonic time [s] of a sign of progress."""

RECENT = 64
"""Marks that are kept between two looks, and durations that are remembered of each phase."""
QUIET = frozenset({"starting", "rendezvous", "evaluating", "leaving"})
"""Phases that are no loops: nobody knows how long the task's own code may take."""
FEW = 3
"""So many durations must be known before they count as usual."""
FIRST_STEPS = 2.0
"""The first steps of a phase may take so much longer than `hang_min_s`: they may compile."""
LONGEST = 2.0
"""A silence is no hang before it is so much longer than the longest one that ended well."""


class Pace:
    """Learns from marks how far apart they are, for each phase."""

    def __init__(self) -> None:
        self._durations: dict[str, deque[float]] = {}
        self._longest_s: dict[str, float] = {}
        self._learnt_s = float("-inf")

    def learn(self, marks: Sequence[Mark]) -> None:
        """Take in the latest marks, oldest first; those that are known already do not count."""
        for (phase, _, begun_s), (_, _, ended_s) in pairwise(marks):
            if ended_s > self._learnt_s:
                self._take(phase, ended_s - begun_s)
        self._learnt_s = marks[-1][2]

    def _take(self, phase: str, duration_s: float) -> None:
        durations = self._durations.setdefault(phase, deque(maxlen=RECENT))
        if len(durations) >= FEW:
            self._longest_s[phase] = max(duration_s, self._longest_s.get(phase, 0.0))
        durations.append(duration_s)

    def usual_s(self, phase: str) -> float | None:
        """Median of the recent durations [s]; None while few are known."""
        durations = self._durations.get(phase, ())
        return median(durations) if len(durations) >= FEW else None

    def limit_s(self, phase: str, recovery: RecoveryConfig) -> float | None:
        """A longer silence in this phase is a hang [s]; None where it never is."""
        if phase in QUIET:
            return None
        usual_s = self.usual_s(phase)
        if usual_s is None:
            return FIRST_STEPS * recovery.hang_min_s
        longest_s = self._longest_s.get(phase, 0.0)
        return max(recovery.hang_min_s, recovery.hang_factor * usual_s, LONGEST * longest_s)
