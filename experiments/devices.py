"""Which device a rank computes on, and whether kernels of ours can be compiled for it."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Mapping
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from launcher.context import RunContext

log = logging.getLogger(__name__)


def device_of(context: RunContext) -> torch.device:
    """Return the device of this rank."""
    if context.accelerator != "gpu":
        return torch.device("cpu")
    device = torch.device("cuda", context.local_rank % torch.cuda.device_count())
    torch.cuda.set_device(device)
    return device


def moved_beside(
    move: Callable[[], Mapping[str, Tensor]], device: torch.device
) -> Mapping[str, Tensor]:
    """Return the batch that `move` copies to a device; a GPU does other work meanwhile.

    Host memory has to be pinned for it. What is launched afterwards on the current stream finds the
    batch there.
    """
    if device.type != "cuda":
        return move()
    beside, current = _stream_of_copies(device), torch.cuda.current_stream(device)
    with torch.cuda.stream(beside):
        batch = move()
    current.wait_stream(beside)
    for tensor in batch.values():
        tensor.record_stream(current)  # or a later copy could overwrite what is still read
    return batch


@cache
def _stream_of_copies(device: torch.device) -> Any:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


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
