"""Replays a chain of small GPU operations as one, where launching each takes longer than it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Function = Callable[..., Sequence[Tensor]]


class Replayer:
    """Calls functions of tensors; on GPUs recorded as CUDA graphs where they come again."""

    def __init__(self, kept: int) -> None:
        """Keep so many recordings; each holds memory for inputs, outputs and what is between."""
        self._kept = kept
        self._recordings: dict[tuple[object, ...], _Recording | None] = {}

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
        if key not in self._recordings:  # a shape that never comes again is not worth a recording
            self._remember(key, None)
            return list(function(*inputs, *settings))
        known = self._recordings[key]
        if known is None:
            known = _Recording(function, inputs, settings)
            self._remember(key, known)
        return known(inputs)

    def _remember(self, key: tuple[object, ...], recording: _Recording | None) -> None:
        self._recordings.pop(key, None)
        self._recordings[key] = recording
        while len(self._recordings) > self._kept:
            del self._recordings[next(iter(self._recordings))]


replayed = Replayer(kept=4)
"""For functions that live as long as the process."""


class _Recording:
    def __init__(
        self, function: Function, inputs: Sequence[Tensor], settings: Sequence[object]
    ) -> None:
        self._inputs = [value.clone() for value in inputs]
        self._graph = torch.cuda.CUDAGraph()
        # What other threads do meanwhile, as one that pins memory, is no part of it.
        recording = torch.cuda.graph(self._graph, capture_error_mode="thread_local")
        with torch.cuda.device(inputs[0].device), recording:
            self._outputs = function(*self._inputs, *settings)

    def __call__(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        for mine, value in zip(self._inputs, inputs, strict=True):
            mine.copy_(value)
        self._graph.replay()
        return [output.clone() for output in self._outputs]
