"""Whether a main thread that gives no marks works all the same. Pure."""

from __future__ import annotations

FEW_LOOKS = 3
"""A mark that is so few looks old is a sign of work itself."""
BUSY = 0.1
"""A main thread that was elsewhere in more than this share of the looks is at work."""


class Movement:
    """How often the main thread was seen at another place than before, since the last mark.

    One that waits for other ranks, or for a lock, is seen at the same place each time. One that
    scores a validation in a loop of its own is not.
    """

    def __init__(self) -> None:
        self._marked_s = float("-inf")
        self._looks = self._moves = 0
        self._position: int | None = None

    def see(self, marked_s: float, position: int) -> None:
        """Take in a look: when the last mark was given, and where the thread is."""
        if marked_s != self._marked_s:
            self._marked_s = marked_s
            self._looks = self._moves = 0
        else:
            self._looks += 1
            self._moves += position != self._position
        self._position = position

    @property
    def share(self) -> float:
        """Share of the looks that found it elsewhere."""
        return 1.0 if self._looks < FEW_LOOKS else round(self._moves / self._looks, 3)
