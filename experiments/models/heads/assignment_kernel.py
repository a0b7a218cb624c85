"""Assigns rows to columns at least total cost on a GPU, in Triton, without waiting for it.

Each sample is one program: rows enter one after the other along shortest augmenting paths
(Jonker and Volgenant, 1987), and each step of a search looks at all columns at once.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit  # type: ignore[untyped-decorator]
def _assign(cost, enters, row_of_column, rows, columns, block: tl.constexpr):  # type: ignore[no-untyped-def]
    sample = tl.program_id(0).to(tl.int64)
    lane = tl.arange(0, block)
    inside = lane < columns
    of_row = tl.zeros([block], tl.float64)  # potentials
    of_column = tl.zeros([block], tl.float64)
    taken_by = tl.full([block], -1, tl.int32)
    for first in range(rows):
        if tl.load(enters + sample * rows + first) != 0:
            least = tl.full([block], float("inf"), tl.float64)
            before = tl.full([block], -1, tl.int32)
            reached = lane >= columns
            in_tree = lane == first
            row = first
            column = -1
            steps = 0
            # Numbers that are none could lead in circles, hence the bounds.
            while (row >= 0) & (steps < block):
                at = (sample * rows + row) * columns + lane
                reduced = tl.load(cost + at, inside, 0.0).to(tl.float64) - of_column
                reduced -= tl.sum(tl.where(lane == row, of_row, 0.0))
                is_nearer = (reduced < least) & (reached == 0)
                least = tl.where(is_nearer, reduced, least)
                before = tl.where(is_nearer, column, before)
                ahead = tl.where(reached, float("inf"), least)
                delta = tl.min(ahead, axis=0)
                column = tl.argmin(ahead, axis=0)
                of_row = tl.where(in_tree, of_row + delta, of_row)
                of_column = tl.where(reached & inside, of_column - delta, of_column)
                least = tl.where(reached, least, least - delta)
                reached = reached | (lane == column)
                row = tl.sum(tl.where(lane == column, taken_by, 0), axis=0)
                in_tree = in_tree | (lane == row)
                steps += 1
            steps = 0
            while (column >= 0) & (steps < block):
                previous = tl.sum(tl.where(lane == column, before, 0), axis=0)
                passed_on = tl.sum(tl.where(lane == previous, taken_by, 0), axis=0)
                taker = tl.where(previous >= 0, passed_on, first)
                taken_by = tl.where(lane == column, taker, taken_by)
                column = previous
                steps += 1
    tl.store(row_of_column + sample * columns + lane, taken_by, inside)


def assign(cost: Tensor, enters: Tensor) -> Tensor:
    """Return int32 (B, C): which row each column goes to, -1 for none, at least total cost.

    Args:
        cost: (B, R, C), finite, with R <= C.
        enters: bool (B, R), rows that are assigned; the others are not there.
    """
    samples, rows, columns = cost.shape
    found = torch.empty(samples, columns, dtype=torch.int32, device=cost.device)
    with torch.cuda.device_of(cost):  # type: ignore[no-untyped-call]
        _assign[(samples,)](
            cost.contiguous(), enters.to(torch.int8).contiguous(), found, rows, columns,
            block=triton.next_power_of_2(columns), num_warps=1,
        )  # fmt: skip
    return found
