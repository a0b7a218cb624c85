"""Dataloaders that can take up an epoch where it was left.

A plain DataLoader begins anew after a restart. Here the generators are set to what they were
when the epoch began, so the same order is drawn, and the batches that were trained on are drawn
and dropped: then its workers, too, stand where they stood. A batch sampler with `skip(n)` is
told instead, because it knows its position without drawing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from launcher.callbacks import fetching, rng

log = logging.getLogger("launcher.checkpoints")
State = dict[str, Any]


@dataclass
class Position:
    """Where in an epoch a loader has to go on."""

    at_start: State
    """Generators when the iterator was made; empty if unknown."""
    at_first: State
    """Generators when the first batch was drawn; empty if none was."""
    batches: int
    """Batches that are done."""
    after: State | None
    """Generators at that position; None leaves them as they are when it is reached."""


class ResumableLoader:
    """Stands in for a training dataloader; everything else is answered by that one."""

    def __init__(self, loader: Any, before_fetch: Callable[[], None]) -> None:
        """Wrap `loader`; `before_fetch` is called before a batch is drawn."""
        own = vars(self)
        own["_loader"] = loader
        own["_before_fetch"] = before_fetch
        own["_position"] = None
        own["at_start"] = {}
        own["at_first"] = {}

    def resume(self, position: Position) -> None:
        """Let the next pass be the rest of one that was interrupted."""
        vars(self)["_position"] = position

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        own = vars(self)
        position: Position | None = own["_position"]
        own["_position"] = None
        if position is not None and position.at_start:
            self.set_generators(position.at_start)
        own["at_start"], own["at_first"] = self.generators(), {}
        if position is not None:
            self._skip(position)
        batches = iter(self._loader)
        fetching.current().begin_training(batches)
        return _Batches(self, batches, position)

    def generators(self) -> State:
        """The generators of this process and of the loader as they are now."""
        return _capture(self._loader)

    def set_generators(self, state: State) -> None:
        """Set them to what `generators` saw."""
        _restore(self._loader, state)

    def _skip(self, position: Position) -> None:
        skip = getattr(getattr(self._loader, "batch_sampler", None), "skip", None)
        if skip is not None and position.batches:
            skip(position.batches)
            position.batches = 0

    def state_dict(self) -> State:
        """State of a loader that keeps its own; this also tells Lightning that it resumes."""
        keeps = getattr(self._loader, "state_dict", None)
        return keeps() if keeps is not None else {}

    def load_state_dict(self, state: State) -> None:
        """Give a loader that keeps its own state that state."""
        if state and hasattr(self._loader, "load_state_dict"):
            self._loader.load_state_dict(state)

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["_loader"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._loader, name, value)


class _Batches:
    """One pass over a ResumableLoader."""

    def __init__(
        self, owner: ResumableLoader, batches: Iterator[Any], position: Position | None
    ) -> None:
        self._owner = owner
        self._batches = batches
        self._position = position

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        position, self._position = self._position, None
        if position is None:
            self._owner._before_fetch()
        else:
            self._catch_up(position)
        if not self._owner.at_first:
            vars(self._owner)["at_first"] = self._owner.generators()
        return fetching.current().take(self._batches)

    def _catch_up(self, position: Position) -> None:
        after = position.after or self._owner.generators()
        if position.batches:
            if position.at_first:
                self._owner.set_generators(position.at_first)
            vars(self._owner)["at_first"] = self._owner.generators()
            began = time.monotonic()
            for _ in range(position.batches):
                next(self._batches)
            took_s = time.monotonic() - began
            log.info("drew %d batches again to find the place, %.1f s", position.batches, took_s)
        self._owner.set_generators(after)


def set_epoch(loader: Any, epoch: int) -> None:
    """Tell the samplers of a loader which epoch is being drawn.

    Lightning does it after it has made the iterator, and workers begin to draw with that.
    """
    batches = getattr(loader, "batch_sampler", None)
    for sampler in (getattr(loader, "sampler", None), batches, getattr(batches, "sampler", None)):
        tell = getattr(sampler, "set_epoch", None)
        if callable(tell):
            tell(epoch)


def _generators(loader: Any) -> list[torch.Generator]:
    """Generators of its own that a loader draws from."""
    holders = (loader, getattr(loader, "sampler", None))
    found = [getattr(holder, "generator", None) for holder in holders]
    return [generator for generator in found if isinstance(generator, torch.Generator)]


def _capture(loader: Any) -> State:
    own = [generator.get_state() for generator in _generators(loader)]
    return {"process": rng.capture(), "own": own}


def _restore(loader: Any, state: State) -> None:
    rng.restore(state["process"])
    for generator, own in zip(_generators(loader), state["own"], strict=True):
        generator.set_state(own)


class WatchedLoader:
    """Stands in for a validation dataloader and tells when a pass over it begins."""

    def __init__(self, loader: Any, before_pass: Callable[[], None]) -> None:
        vars(self).update(_loader=loader, _before_pass=before_pass)

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        self._before_pass()
        fetching.current().begin_validation()
        return iter(self._loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["_loader"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._loader, name, value)


class TimedLoader:
    """Stands in for a dataloader that is only watched: its training is not one that resumes."""

    def __init__(self, loader: Any, *, is_training: bool) -> None:
        vars(self).update(_loader=loader, _is_training=is_training)

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        report = fetching.current()
        if not vars(self)["_is_training"]:
            report.begin_validation()
            return iter(self._loader)
        batches = iter(self._loader)
        report.begin_training(batches)
        return _timed(batches)

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["_loader"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._loader, name, value)


def _timed(batches: Iterator[Any]) -> Iterator[Any]:
    while True:
        try:
            batch = fetching.current().take(batches)
        except StopIteration:
            return
        yield batch
