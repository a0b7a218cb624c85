"""Geometry that keeps its precision when a model is cast."""

from __future__ import annotations

from typing import Any, Self

from torch import nn


class Exact(nn.Module):
    """Keeps its own buffers as they are when a model becomes bfloat16 (`bf16-true`).

    A position of 50 m in bfloat16 is off by up to 0.13 m, and 1 - 0.999 is 0.
    """

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        exact = dict(self._buffers)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, value in exact.items():
            moved = self._buffers[name]
            if value is not None and moved is not None:
                self._buffers[name] = value.to(moved.device)
        return self
