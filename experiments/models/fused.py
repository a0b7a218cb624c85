"""Adds a residual and normalises it in one pass over memory, where nothing is learnt from it.

Between the matrix products of a ViT-H/14 an H200 spends an eighth of its time on the two, which
move the same numbers five times instead of four and slower than its memory allows.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)


def can_fuse(tokens: Tensor, norm: nn.LayerNorm) -> bool:
    """Whether the pass is for tokens (B, N, C) such as these."""
    return (
        tokens.is_cuda
        and tokens.dtype in (torch.bfloat16, torch.float16)
        and norm.weight.dtype == tokens.dtype
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cuda")
        and not torch.compiler.is_compiling()
        and _has_triton()
    )


def encode(blocks: Sequence[Any], norm: nn.LayerNorm, tokens: Tensor) -> Tensor:
    """Return `norm(blocks(tokens))` for pre-norm blocks of timm without dropout or layer scale."""
    ahead: Tensor | None = None  # what is still to be added
    for block in blocks:
        tokens, normed = _add_norm(tokens, ahead, block.norm1)
        tokens, normed = _add_norm(tokens, block.attn(normed), block.norm2)
        ahead = block.mlp(normed)
    return _add_norm(tokens, ahead, norm)[1]


def _add_norm(x: Tensor, y: Tensor | None, norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
    if y is None:
        return x, norm(x)
    from experiments.models import fused_kernel

    return fused_kernel.add_norm(x, y, norm.weight, norm.bias, norm.eps)


@cache
def _has_triton() -> bool:
    compilers = [os.environ.get("CC"), "cc", "gcc", "clang"]
    has_compiler = any(name and shutil.which(name) for name in compilers)
    if find_spec("triton") is not None and has_compiler:
        return True
    log.warning("frozen ViTs are about 5 %% slower than they could be: %s is missing here",
                "a C compiler" if find_spec("triton") else "triton")  # fmt: skip
    return False
