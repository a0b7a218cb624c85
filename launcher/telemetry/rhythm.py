"""When to look at processes: often after something changed, seldom where nothing does. Pure."""

from __future__ import annotations

from dataclasses import dataclass

PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
"""From look to look after a change; the last one for good [s]."""
AFTER_GROWTH = 2
"""Pause from where on it goes after processes grew."""
GREW = 1.05
"""Factor by which they have to."""


@dataclass
class Rhythm:
    """Says when the next look is due."""

    due_s: float
    _at: int = 0
    _held: int = 0

    def restart(self, now_s: float) -> None:
        """A phase begins, or the number of workers changed: they have yet to fill their memory."""
        self._at, self.due_s = 0, now_s

    def see(self, held: int, now_s: float) -> None:
        """Take in what all processes hold by a cheap count that sees no pages copied."""
        if held > GREW * self._held:
            self._held = held
            self._at = min(self._at, AFTER_GROWTH)
            self.due_s = min(self.due_s, now_s + PAUSES_S[self._at])

    def looked(self) -> float:
        """A look was taken; returns the pause to the next one [s]."""
        pause_s = PAUSES_S[self._at]
        self._at = min(self._at + 1, len(PAUSES_S) - 1)
        return pause_s
