"""A centreline as a path: arc length and offset of points, and poses at an arc length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import ArrayLike

from experiments.data.frames import Floats, wrap


@dataclass(frozen=True, slots=True)
class CentrePath:
    """A polyline of P nodes, no two following ones at the same place."""

    xy: Floats
    """(P, 2)."""
    heading: Floats
    """(P,) [rad], without jumps of a whole turn."""
    s: Floats
    """(P,) arc length from the first node [m]."""

    @property
    def length(self) -> float:
        """Length [m]."""
        return float(self.s[-1])

    def at(self, s: ArrayLike, offset: ArrayLike = 0.0) -> Floats:
        """Return the (..., 3) poses at arc lengths `s`, `offset` metres to the left.

        Beyond an end there is the end.
        """
        s = np.asarray(s, np.float64)
        heading = np.interp(s, self.s, self.heading)
        x = np.interp(s, self.s, self.xy[:, 0]) - offset * np.sin(heading)
        y = np.interp(s, self.s, self.xy[:, 1]) + offset * np.cos(heading)
        return np.stack([x, y, wrap(heading)], axis=-1)

    def project(self, points: ArrayLike) -> tuple[Floats, Floats]:
        """Return arc length [m] and signed distance [m], left positive, of (..., 2) points."""
        points = np.asarray(points, np.float64)
        line = shapely.LineString(self.xy)
        s: Floats = shapely.line_locate_point(line, shapely.points(points))
        foot = np.stack([np.interp(s, self.s, column) for column in self.xy.T], axis=-1)
        segment = np.clip(np.searchsorted(self.s, s, side="right") - 1, 0, len(self.s) - 2)
        along = np.diff(self.xy, axis=0)[segment]
        off = points - foot
        left = along[..., 0] * off[..., 1] - along[..., 1] * off[..., 0]
        return s, np.copysign(np.hypot(off[..., 0], off[..., 1]), left)


def centre_path(centerline: Floats) -> CentrePath:
    """Return the path along (P, 3) global poses; nodes that repeat the one before are left out."""
    moved = np.hypot(*np.diff(centerline[:, :2], axis=0).T) > 1e-6
    nodes = centerline[np.concatenate([[True], moved])]
    steps = np.hypot(*np.diff(nodes[:, :2], axis=0).T)
    s = np.concatenate([[0.0], np.cumsum(steps)])
    return CentrePath(nodes[:, :2], np.unwrap(nodes[:, 2]), s)
