"""Which device a rank computes on, for tasks without a Trainer."""

from __future__ import annotations

import torch

from launcher.context import RunContext


def device_of(context: RunContext) -> torch.device:
    """Return the device of this rank."""
    if context.accelerator != "gpu":
        return torch.device("cpu")
    device = torch.device("cuda", context.local_rank % torch.cuda.device_count())
    torch.cuda.set_device(device)
    return device
