"""Whether points are strictly inside a polygon, exactly, in a few operations per point.

The corners of a ring cut the plane into slabs across its longer axis. Between two neighbouring
corners no edge begins or ends, so a point has to be compared with the few edges that cross its
slab (two on most roads) and not with hundreds. A point is inside if an odd number of edges lies
above it. Rings that cross themselves follow the even-odd rule, as in GEOS.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from experiments.data.frames import Floats


@dataclass(frozen=True, slots=True)
class Slabs:
    """A ring of V corners, cut at its S + 1 distinct coordinates along `axis`."""

    axis: int
    """0 if cut along x, 1 along y."""
    cuts: Tensor
    """(S + 1,) ascending [m]."""
    edges: Tensor
    """(S, M, 4): from u, v to u, v of the edges that cross a slab, u ascending; NaN for none."""

    def contains(self, points: Tensor) -> Tensor:
        """Return for (N, 2) points whether each is inside and on no edge."""
        u, v = points[:, self.axis].contiguous(), points[:, 1 - self.axis]
        slab = torch.searchsorted(self.cuts, u, right=True) - 1
        inside = self._in_slab(slab, u, v)
        # On a cut, an edge along it belongs to no slab: only what is inside on both sides counts.
        ties = torch.nonzero(u == self.cuts[slab.clamp(min=0)])[:, 0]
        if len(ties):
            inside[ties] &= self._in_slab(slab[ties] - 1, u[ties], v[ties])
        return inside

    def _in_slab(self, slab: Tensor, u: Tensor, v: Tensor) -> Tensor:
        count = len(self.edges)
        there = (slab >= 0) & (slab < count)
        edges = self.edges[slab.clamp(0, count - 1)]
        above = torch.zeros_like(there)
        for number in range(edges.shape[1]):
            u0, v0, u1, v1 = edges[:, number].unbind(-1)
            side = (u1 - u0) * (v - v0) - (v1 - v0) * (u - u0)
            above ^= side < 0
            there &= side != 0
        return above & there


def cut(ring: Floats, device: torch.device) -> Slabs:
    """Cut a (V, 2) open ring into slabs."""
    axis = int(np.argmax(np.ptp(ring, axis=0)))
    start = ring[:, [axis, 1 - axis]]
    ends = np.stack([start, np.roll(start, -1, axis=0)], axis=1)
    ends = ends[ends[:, 0, 0] != ends[:, 1, 0]]
    order = np.argsort(ends[:, :, 0], axis=1)
    edges = np.take_along_axis(ends, order[..., None], axis=1).reshape(-1, 4)
    cuts = np.unique(start[:, 0])
    first = np.searchsorted(cuts, edges[:, 0])
    spans = np.searchsorted(cuts, edges[:, 2]) - first
    which = np.repeat(np.arange(len(edges)), spans)
    slab = first[which] + np.arange(len(which)) - np.repeat(np.cumsum(spans) - spans, spans)
    by_slab = np.argsort(slab, kind="stable")
    slab, which = slab[by_slab], which[by_slab]
    counts = np.bincount(slab, minlength=len(cuts) - 1)
    place = np.arange(len(slab)) - np.repeat(np.cumsum(counts) - counts, counts)
    table = np.full((len(cuts) - 1, counts.max(), 4), np.nan)
    table[slab, place] = edges[which]
    return Slabs(axis, torch.from_numpy(cuts).to(device), torch.from_numpy(table).to(device))
