"""Let DistributedDataParallel settle its buckets before the first step, fresh or resumed.

DDP lays gradients out in the order of the parameters, and after its first backward pass once
more in the order in which they arrived. The layout decides in which order the ranks' gradients
are added, so with more than two ranks a resumed training would differ in the last bits from one
that was not interrupted. One backward pass of zeros settles the layout for both.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel


def settle(model: Any) -> None:
    """Make the one rebuild of buckets happen now; weights, generators and buffers stay."""
    if not isinstance(model, DistributedDataParallel):
        return
    if model.static_graph or model.find_unused_parameters:
        return  # the first records the true graph, the second never rebuilds
    trained = [p for p in model.module.parameters() if p.requires_grad]
    if not trained:
        return

    def zeros(*_: Any) -> torch.Tensor:
        return torch.stack([(p * 0.0).sum().float() for p in trained]).sum()

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
