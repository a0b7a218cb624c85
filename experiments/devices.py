"""Which device a rank computes on, and whether kernels of ours can be compiled for it."""

from __future__ import annotations

import logging
import os
import shutil
from functools import cache
from importlib.util import find_spec

import torch

from launcher.context import RunContext

log = logging.getLogger(__name__)


def device_of(context: RunContext) -> torch.device:
    """Return the device of this rank."""
    if context.accelerator != "gpu":
        return torch.device("cpu")
    device = torch.device("cuda", context.local_rank % torch.cuda.device_count())
    torch.cuda.set_device(device)
    return device


@cache
def has_triton() -> bool:
    """Whether Triton and the C compiler that it needs are here; said once where they are not."""
    compilers = [os.environ.get("CC"), "cc", "gcc", "clang"]
    has_compiler = any(name and shutil.which(name) for name in compilers)
    if find_spec("triton") is not None and has_compiler:
        return True
    log.warning("frozen ViTs and TransFuser are 5 to 10 %% slower than they could be: %s is missing"
                " here", "a C compiler" if find_spec("triton") else "triton")  # fmt: skip
    return False
