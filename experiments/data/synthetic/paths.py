"""Smooth planar paths given by curvature over arc length: lines, turns, offsets of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from experiments.data.frames import Floats

STEP_M = 0.5
"""Spacing of a path's nodes [m]."""
_RAMP = 0.3
"""Share of a turn in which the curvature rises, and in which it falls (clothoids)."""


@dataclass(frozen=True, slots=True)
class Path:
    """Nodes of a path: arc length [m], position [m], unwrapped heading [rad], curvature [1/m]."""

    s: Floats
    x: Floats
    y: Floats
    heading: Floats
    curvature: Floats

    @property
    def length(self) -> float:
        """Arc length [m]."""
        return float(self.s[-1])

    def at(self, s: Floats | float) -> Floats:
        """Return the (..., 3) poses at arc lengths `s`; the ends extend as straight lines."""
        inside = np.clip(s, 0.0, self.length)
        beyond = np.asarray(s) - inside
        heading = np.interp(inside, self.s, self.heading)
        x = np.interp(inside, self.s, self.x) + beyond * np.cos(heading)
        y = np.interp(inside, self.s, self.y) + beyond * np.sin(heading)
        return np.stack([x, y, heading], axis=-1)

    def curvature_at(self, s: Floats | float) -> Floats:
        """Return the curvature [1/m] at arc lengths `s`, positive to the left."""
        return np.asarray(np.interp(s, self.s, self.curvature), np.float64)

    def offset(self, left: float) -> Path:
        """Return the parallel path `left` metres to the left (negative: to the right)."""
        stretch = 1.0 - left * self.curvature
        gaps = np.diff(self.s) * (stretch[1:] + stretch[:-1]) / 2
        return Path(
            s=np.concatenate([[0.0], np.cumsum(gaps)]),
            x=self.x - left * np.sin(self.heading),
            y=self.y + left * np.cos(self.heading),
            heading=self.heading,
            curvature=self.curvature / stretch,
        )

    def reversed(self) -> Path:
        """Return the same path driven the other way."""
        return Path(
            s=self.length - self.s[::-1],
            x=self.x[::-1],
            y=self.y[::-1],
            heading=self.heading[::-1] + np.pi,
            curvature=-self.curvature[::-1],
        )

    def thin(self, every: int) -> Path:
        """Return the path with every `every`-th node, and the last."""
        keep = np.unique(np.append(np.arange(0, len(self.s), every), len(self.s) - 1))
        return Path(*(getattr(self, name)[keep] for name in Path.__slots__))

    def xy(self) -> Floats:
        """Return the (n, 2) nodes."""
        return np.stack([self.x, self.y], axis=-1)


def integrate(start: Floats, s: Floats, curvature: Floats) -> Path:
    """Return the path from pose `start` with `curvature` at arc lengths `s`."""
    gaps = np.diff(s)
    bends = gaps * (curvature[1:] + curvature[:-1]) / 2
    heading = start[2] + np.concatenate([[0.0], np.cumsum(bends)])
    # The chord of a short arc points along its mean heading.
    middle = (heading[1:] + heading[:-1]) / 2
    x = start[0] + np.concatenate([[0.0], np.cumsum(gaps * np.cos(middle))])
    y = start[1] + np.concatenate([[0.0], np.cumsum(gaps * np.sin(middle))])
    return Path(s, x, y, heading, curvature)


def _nodes(length: float) -> Floats:
    return np.linspace(0.0, length, max(2, round(length / STEP_M) + 1))


def line(start: Floats, length: float) -> Path:
    """Return the straight path of `length` metres from pose `start`."""
    s = _nodes(length)
    return integrate(start, s, np.zeros_like(s))


def _ramped(share: Floats) -> Floats:
    """Trapezoid over [0, 1] with height 1 and area 1 - _RAMP."""
    return np.clip(np.minimum(share, 1.0 - share) / _RAMP, 0.0, 1.0)


def bend(start: Floats, angle: float, radius: float) -> Path:
    """Return a turn by `angle` [rad], left positive: clothoid, arc of `radius`, clothoid."""
    s = _nodes(abs(angle) * radius / (1.0 - _RAMP))
    curvature = _ramped(s / s[-1]) / radius
    # The nodes miss the kinks of the trapezoid: scale, so that the turn ends at `angle` exactly.
    total = np.sum(np.diff(s) * (curvature[1:] + curvature[:-1]) / 2)
    return integrate(start, s, curvature * (angle / total))


def turn(start: Floats, angle: float, tangent: float) -> Path:
    """Return the turn by `angle` [rad] that ends `tangent` metres beyond the tangents' crossing.

    The crossing lies `tangent` metres ahead of `start`, so the turn is symmetric about it.
    """
    unit = bend(np.zeros(3), angle, 100.0)
    radius = 100.0 * tangent * np.sin(angle) / unit.y[-1]
    return bend(start, angle, float(radius))


def join(*parts: Path) -> Path:
    """Return the parts one after the other; each must start where the one before ends."""
    offsets = np.cumsum([0.0] + [part.length for part in parts[:-1]])
    pieces = [part.s + offset for part, offset in zip(parts, offsets, strict=True)]
    # Node 0 of a later part repeats the last node of the one before.
    cut = [slice(None)] + [slice(1, None)] * (len(parts) - 1)
    pairs = list(zip(parts, cut, strict=True))
    return Path(
        s=np.concatenate([piece[c] for piece, c in zip(pieces, cut, strict=True)]),
        x=np.concatenate([part.x[c] for part, c in pairs]),
        y=np.concatenate([part.y[c] for part, c in pairs]),
        heading=np.concatenate([part.heading[c] for part, c in pairs]),
        curvature=np.concatenate([part.curvature[c] for part, c in pairs]),
    )
