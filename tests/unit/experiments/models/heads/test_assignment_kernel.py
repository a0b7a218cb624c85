"""Vehicles that a GPU would match are matched as on the CPU; Triton interprets and compiles."""

import pytest

from tests.unit.experiments.models.test_fused import run

pytest.importorskip("triton")

INTERPRETED = """
import numpy as np
import torch
from experiments.models.heads.assignment_kernel import assign
from experiments.models.heads.transfuser_agents import assigned
torch.manual_seed(0)
for rows, columns, share in ((30, 30, 0.3), (30, 30, 1.0), (1, 30, 1.0), (7, 9, 0.5), (4, 4, 0.0)):
    cost = 20 * torch.randn(3, rows, columns)
    is_there = torch.rand(3, rows) < share
    found = assign(cost, is_there)
    assert found.dtype == torch.int32
    np.testing.assert_array_equal(found, assigned(cost, is_there))
cost[0, 0] = float("nan")
assign(cost, torch.ones(3, rows, dtype=torch.bool))  # ends
"""

COMPILED = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from experiments.models.heads.assignment_kernel import _assign
signature = {"cost": "*fp32", "enters": "*i8", "row_of_column": "*i32", "rows": "i32"}
signature |= {"columns": "i32", "block": "constexpr"}
source = ASTSource(_assign, signature, constexprs={"block": 32})
target = GPUTarget("cuda", CAPABILITY, 32)
assert "cubin" in triton.compile(source, target=target, options={"num_warps": 1}).asm
"""


def test_vehicles_are_matched_as_on_the_cpu() -> None:
    run(INTERPRETED, TRITON_INTERPRET="1")


@pytest.mark.parametrize("capability", [80, 90])
def test_it_compiles(capability: int) -> None:
    run(COMPILED.replace("CAPABILITY", str(capability)))
