"""Numbers on their way from a GPU, which nobody waits for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


class Underway:
    """Fetches numbers together; each fetch by itself would wait until the GPU has done all."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        """Begin.

        Args:
            values: Numbers, or tensors of one element on any device.
        """
        self._values = dict(values)
        groups: dict[tuple[torch.device, torch.dtype], list[str]] = {}
        for name, value in values.items():
            if isinstance(value, Tensor):
                groups.setdefault((value.device, value.dtype), []).append(name)
        self._parts: list[tuple[list[str], Tensor, torch.cuda.Event | None]] = []
        for names in groups.values():
            there = torch.stack([values[name].detach().reshape(()) for name in names])
            (here,), event = fetched([there])
            self._parts.append((names, here, event))

    @property
    def is_there(self) -> bool:
        """Whether `numbers` would not wait."""
        return all(event is None or event.query() for _, _, event in self._parts)  # type: ignore[no-untyped-call]

    def numbers(self) -> dict[str, Any]:
        """Return plain numbers, in the order in which they were given."""
        for names, here, event in self._parts:
            if event is not None:
                event.synchronize()
            self._values.update(zip(names, here.tolist(), strict=True))
        self._parts = []
        return self._values


def fetched(values: Sequence[Tensor]) -> tuple[list[Tensor], torch.cuda.Event | None]:
    """Begin to fetch tensors of one device.

    Returns:
        Them on the host, and what to wait for before they are looked at; None if nothing.
    """
    if not values[0].is_cuda:
        return list(values), None
    with torch.cuda.device(values[0].device):
        here = [value.to("cpu", non_blocking=True) for value in values]  # in pinned memory
        event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        event.record()
    return here, event
