"""How long optimizer steps take where nothing disturbs them. Pure."""

from __future__ import annotations

from collections.abc import Callable

WARM_UP = 3
"""First steps after a start, which compile, allocate and fill queues: they are not timed."""


class StepClock:
    """Adds up the steps that lie between two others, without anything else in between."""

    def __init__(self, waited_s: Callable[[], float]) -> None:
        """Take the time that was waited for data so far from `waited_s`."""
        self.steps = 0
        self.seconds = 0.0
        self.waited_s = 0.0
        """Part of `seconds` in which data was waited for."""
        self._waited = waited_s
        self._done = 0
        self._is_disturbed = False
        self._last_s = self._last_waited_s = 0.0

    @property
    def is_warm(self) -> bool:
        """Whether steps are timed by now."""
        return self._done >= WARM_UP

    def step(self, now_s: float) -> None:
        """An optimizer step is done."""
        waited_s = self._waited()
        if self.is_warm and not self._is_disturbed:
            self.steps += 1
            self.seconds += now_s - self._last_s
            self.waited_s += waited_s - self._last_waited_s
        self._done += 1
        self._is_disturbed = False
        self._last_s, self._last_waited_s = now_s, waited_s

    def disturb(self) -> None:
        """The step that is under way takes longer for another reason than the step itself."""
        self._is_disturbed = True

    @property
    def step_s(self) -> float | None:
        """Mean time of a step [s]; None while none was timed."""
        return self.seconds / self.steps if self.steps else None

    @property
    def wait_share(self) -> float | None:
        """Part of the time in which data was waited for; None while no step was timed."""
        return min(self.waited_s / self.seconds, 1.0) if self.seconds else None
