"""Have DistributedDataParallel lay gradients out in each life as in the first.

DDP lays gradients out in the order of the parameters, and after its first backward pass once more,
in the order in which they arrived, so that exchange begins with what is ready first. The layout
decides in which order the ranks' gradients are added, so with more than two ranks a resumed
training would differ in the last bits from one that was not interrupted. So the order of arrival is
kept with the checkpoint, and a later life begins with a backward pass of zeros in that order.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


class Arrivals:
    """Notes in which order the first backward passes of a life fill gradients in."""

    def __init__(self, model: Any) -> None:
        """Watch `model` if its layout follows the order."""
        self._seen: list[int] = []
        self._watched = _trained(model) if _is_rebuilt(model) else []
        self._handles: list[Any] = []
        for number, parameter in enumerate(self._watched):
            note: Any = partial(self._note, number)
            self._handles.append(parameter.register_post_accumulate_grad_hook(note))  # type: ignore[no-untyped-call]

    def _note(self, number: int, _: Tensor) -> None:
        self._seen.append(number)

    def take(self) -> list[int] | None:
        """Stop watching; the order of the last pass, or None if it did not fill each gradient."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        count = len(self._watched)
        order = self._seen[-count:] if count else []
        return order if order and sorted(order) == list(range(count)) else None


def settle(model: Any, order: Sequence[int] | None) -> None:
    """Make the one rebuild of buckets happen now; weights, generators and buffers stay.

    Args:
        model: What a strategy wraps; anything but DDP is left alone.
        order: In which gradients are to arrive, as numbers of the parameters that learn; the last
            parameter first if None.
    """
    trained = _trained(model) if _is_rebuilt(model) else []
    if not trained:
        return
    # The last branch that is made goes back first.
    numbers = reversed(order) if order and len(order) == len(trained) else range(len(trained))
    branches = [trained[number] for number in numbers]

    def zeros(*_: Any) -> Tensor:
        return torch.stack([(p * 0.0).sum().float() for p in branches]).sum()

    sync_buffers, model.broadcast_buffers = model.broadcast_buffers, False
    own = vars(model.module).get("forward")
    model.module.forward = zeros
    try:
        with torch.enable_grad():
            model(torch.zeros(())).backward()  # on GPUs it insists on an input
    finally:
        del model.module.forward
        if own is not None:
            model.module.forward = own
        model.broadcast_buffers = sync_buffers
    for parameter in trained:
        parameter.grad = None


def _is_rebuilt(model: Any) -> bool:
    # With a static graph the first pass records the true graph; with parameters that may stay
    # unused DDP never rebuilds.
    is_ddp = isinstance(model, DistributedDataParallel)
    return is_ddp and not (model.static_graph or model.find_unused_parameters)


def _trained(model: Any) -> list[nn.Parameter]:
    return [p for p in model.module.parameters() if p.requires_grad]
