"""The kernel that adds and normalises is right, and is built for the GPUs that labs have.

It runs on no GPU here: Triton interprets it, and compiles it without running it.
"""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from experiments.models import fused

pytest.importorskip("triton")

INTERPRETED = """
import torch
from experiments.models.fused_kernel import add_norm
for width in (32, 1000, 1280):
    torch.manual_seed(width)
    x, y = (torch.randn(3, 5, width, dtype=torch.float16) for _ in range(2))
    x[0, 0] = y[0, 0] = 0.0  # without eps its norm is no number
    weight, bias = (torch.randn(width, dtype=torch.float16) for _ in range(2))
    total, normed = add_norm(x, y, weight, bias, 1e-6)
    assert torch.equal(total, x + y)
    own = torch.nn.functional.layer_norm(x + y, (width,), weight, bias, 1e-6)
    torch.testing.assert_close(normed, own, rtol=1e-3, atol=1e-3)
"""

COMPILED = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from experiments.models.fused_kernel import _rows
names = ("x", "y", "weight", "bias", "total", "normed")
signature = {name: "*KIND" for name in names} | {"width": "i32", "eps": "fp32"}
source = ASTSource(_rows, signature | {"block": "constexpr"}, constexprs={"block": 2048})
assert "cubin" in triton.compile(source, target=GPUTarget("cuda", CAPABILITY, 32)).asm
"""


def run(code: str, **variables: str) -> None:
    """In a process of its own: Triton decides when it is imported."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_sum_and_norm_are_torchs() -> None:
    run(INTERPRETED, TRITON_INTERPRET="1")


@pytest.mark.parametrize("capability", [80, 89, 90])
@pytest.mark.parametrize("kind", ["bf16", "fp16"])
def test_it_compiles(capability: int, kind: str) -> None:
    run(COMPILED.replace("CAPABILITY", str(capability)).replace("KIND", kind))


def test_a_cpu_takes_the_blocks_as_they_are() -> None:
    with torch.no_grad():
        assert not fused.can_fuse(torch.zeros(1, 1, 4).half(), nn.LayerNorm(4).half())
