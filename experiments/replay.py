"""Replays a chain of small GPU operations as one, where launching each takes longer than it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

R = TypeVar("R")
Function = Callable[..., Sequence[Tensor]]


class Recordings(Generic[R]):
    """The last recordings; each is for one key, and made the second time that it comes.

    In the first time libraries set themselves up, and a key may never come again.
    """

    def __init__(self, kept: int) -> None:
        """Keep so many; each holds memory for inputs, outputs and what is between."""
        self._kept = kept
        self._known: dict[tuple[object, ...], R | None] = {}

    def of(self, key: tuple[object, ...], record: Callable[[], R]) -> R | None:
        """Return what `record` has made for the key, or None in its first time."""
        is_new = key not in self._known
        found = self._known.get(key)
        if found is None:
            found = None if is_new else record()
            self._known.pop(key, None)
            self._known[key] = found
            while len(self._known) > self._kept:
                del self._known[next(iter(self._known))]
        return found


@contextmanager
def recorded(graph: torch.cuda.CUDAGraph, pool: Any = None) -> Iterator[None]:
    """Record what the GPU is given within, in a memory pool of its own or in `pool`."""
    # What other threads do meanwhile, as one that pins memory, is no part of it.
    recording = torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local")
    try:
        with recording:
            yield
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        # A recording that breaks off complains too: of why it did is worth more.
        if isinstance(error.__context__, torch.OutOfMemoryError):
            raise error.__context__ from None
        raise


class Replayer:
    """Calls functions of tensors; on GPUs recorded as CUDA graphs where they come again."""

    def __init__(self, kept: int) -> None:
        """Keep so many recordings."""
        self._recordings: Recordings[_Recording] = Recordings(kept)

    def __call__(
        self, function: Function, inputs: Sequence[Tensor], *settings: object
    ) -> list[Tensor]:
        """Return `function(*inputs, *settings)`.

        Args:
            function: On a GPU it waits for nothing and copies nothing from the host, except the
                first time that it is called. On a CPU it is called as it is.
            inputs: What it is called with.
            settings: Other arguments; a recording is for their values and for the inputs' shapes.
        """
        if not inputs[0].is_cuda:
            return list(function(*inputs, *settings))
        key = (function, *settings, *((value.shape, value.dtype, value.device) for value in inputs))
        known = self._recordings.of(key, lambda: _Recording(function, inputs, settings))
        return list(function(*inputs, *settings)) if known is None else known(inputs)


replayed = Replayer(kept=4)
"""For functions that live as long as the process."""


class _Recording:
    def __init__(
        self, function: Function, inputs: Sequence[Tensor], settings: Sequence[object]
    ) -> None:
        self._inputs = [value.clone() for value in inputs]
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(inputs[0].device), recorded(self._graph):
            self._outputs = function(*self._inputs, *settings)

    def __call__(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        for mine, value in zip(self._inputs, inputs, strict=True):
            mine.copy_(value)
        self._graph.replay()
        return [output.clone() for output in self._outputs]
