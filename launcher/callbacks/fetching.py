"""How long the training loop waits for its loader, and which iterators it draws from.

The wrappers of `launcher.callbacks.loaders` report here, `launcher.callbacks.usage` reads. No
more than two clock readings per batch.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any


class Fetching:
    """What one Trainer's loaders did."""

    def __init__(self) -> None:
        self.waited_s = 0.0
        """Time that training waited for batches so far [s]."""
        self.before_validation: Callable[[], None] | None = None
        """Called when a pass over a validation loader begins, before it starts its workers."""
        self._passes: list[weakref.ref[Any]] = []

    def begin_training(self, batches: Any) -> None:
        """A pass over a training loader begins, with this iterator."""
        self._passes = [known for known in self._passes if known() is not None]
        try:
            self._passes.append(weakref.ref(batches))
        except TypeError:
            return  # a generator of somebody's own, which has no workers that torch knows of

    def begin_validation(self) -> None:
        """A pass over a validation loader begins."""
        if self.before_validation is not None:
            self.before_validation()

    def take(self, batches: Iterator[Any]) -> Any:
        """The next training batch."""
        began_s = time.monotonic()
        try:
            return next(batches)
        finally:
            self.waited_s += time.monotonic() - began_s

    def has_training_workers(self) -> bool:
        """Whether workers of a training loader are alive."""
        iterators = (known() for known in self._passes)
        return any(
            getattr(iterator, "_workers", None) and not getattr(iterator, "_shutdown", False)
            for iterator in iterators
        )


_current = Fetching()


def current() -> Fetching:
    """That of the Trainer which fits now."""
    return _current


def renew() -> Fetching:
    """A Trainer begins to fit."""
    global _current
    _current = Fetching()
    return _current
