"""How far plans get along the route."""

from __future__ import annotations

import torch
from torch import Tensor

from experiments.data.frames import Floats

LEAST_M = 5.0
"""If neither plan nor reference gets farther, there is nothing to compare."""


def way(centerline: Floats, start: Tensor, end: Tensor) -> Tensor:
    """Return the (P,) way [m] along an (N, 2) line from one (2,) point to (P, 2), at least 0."""
    line = torch.from_numpy(centerline).to(start)
    return (_project(line, end) - _project(line, start[None])).clamp(min=0.0)


def _project(line: Tensor, points: Tensor) -> Tensor:
    """Return where on the line, from its start [m], the nearest place to each point is.

    Of equally near places the first is taken, as GEOS does.
    """
    start, step = line[:-1], torch.diff(line, dim=0)
    length = torch.hypot(step[:, 0], step[:, 1])
    before = torch.cumsum(length, dim=0) - length
    off_x, off_y = (points[:, None, axis] - start[:, axis] for axis in (0, 1))
    square = (length**2).clamp(min=torch.finfo(line.dtype).tiny)
    along = ((off_x * step[:, 0] + off_y * step[:, 1]) / square).clamp(0.0, 1.0)
    rest = (off_x - along * step[:, 0]) ** 2 + (off_y - along * step[:, 1]) ** 2
    nearest = rest.argmin(dim=1, keepdim=True)
    return before[nearest[:, 0]] + (along.gather(1, nearest) * length[nearest])[:, 0]


def normalised(raw: Tensor, reference: Tensor) -> Tensor:
    """Return the (P,) ego progress in [0, 1].

    Args:
        raw: (P,) way [m] of plans, times their no-fault and on-road scores.
        reference: (1,) the same of the plan of PDM-Closed.
    """
    most = torch.maximum(raw, reference)
    compared = most > LEAST_M
    return torch.where(compared, raw / torch.where(compared, most, 1.0), 1.0)
