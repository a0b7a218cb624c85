"""The Intelligent Driver Model along a path, for several speeds and offsets at once.

Treiber, Hennecke, Helbing: Congested traffic states in empirical observations and microscopic
simulations (2000). The constants are those with which NAVSIM v1.1 runs PDM-Closed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from experiments.data.frames import Floats, corners
from experiments.data.vehicle import FRONT_M, REAR_AXLE_TO_CENTRE_M, WIDTH_M
from experiments.scoring.pdm.reference_path import CentrePath
from experiments.scoring.pdm.scene import PLAN_STATES, STEP_S, Tracks

_FASTEST_MPS = 15.0
"""Where a map knows no speed limit, as ours; NAVSIM's fallback."""
FRACTIONS = (0.2, 0.4, 0.6, 0.8, 1.0)
"""Of the fastest speed, what policies aim at."""
OFFSETS_M = (0.0, -1.0, 1.0)
"""Paths beside the centreline, left positive."""
_GAP_M, _HEADWAY_S = 1.0, 1.5
_ACCELERATION, _DECELERATION = 1.5, 3.0
_EXPONENT = 10
_GONE = -1e9
"""Arc length of what is on no path [m]: behind everyone."""


@dataclass(frozen=True, slots=True)
class Obstacles:
    """Tracks as intervals along and across a path; (T, PLAN_STATES) each."""

    rear: Floats
    """Arc length of the nearest end [m]."""
    middle: Floats
    """Arc length of the centre [m]."""
    low: Floats
    """Rightmost offset [m]."""
    high: Floats
    """Leftmost offset [m]."""
    speed: Floats
    """Along the path [m/s]."""


def obstacles_on(path: CentrePath, tracks: Tracks) -> Obstacles:
    """Project the tracks of the first 4 s on the path; where they are absent, they are nowhere."""
    boxes = tracks.boxes[:, :PLAN_STATES]
    outline = corners(boxes[..., [0, 1, 3, 4, 2]])
    s, offset = path.project(outline)
    middle, _ = path.project(boxes[..., :2])
    heading = path.at(middle)[..., 2]
    velocity = tracks.velocities[:, :PLAN_STATES]
    speed = velocity[..., 0] * np.cos(heading) + velocity[..., 1] * np.sin(heading)
    here = tracks.present[:, :PLAN_STATES]
    return Obstacles(
        rear=s.min(axis=-1),
        middle=np.where(here, middle, _GONE),
        low=offset.min(axis=-1),
        high=offset.max(axis=-1),
        speed=np.maximum(speed, 0.0),
    )


def drive(
    path: CentrePath, start_s: float, speed_mps: float, obstacles: Obstacles
) -> tuple[Floats, Floats]:
    """Let every policy drive for 4 s.

    Args:
        path: the centreline.
        start_s: arc length of the rear axle at the start [m].
        speed_mps: speed at the start.
        obstacles: what is in the way, when.

    Returns:
        (K, 41) arc lengths of the rear axle [m] and the (K,) offsets of the policies [m]; the
        first len(FRACTIONS) rows follow the centreline, slowest first.
    """
    offsets = np.repeat(OFFSETS_M, len(FRACTIONS))
    targets = np.tile(FRACTIONS, len(OFFSETS_M)) * _FASTEST_MPS
    s = np.full((len(offsets), PLAN_STATES), start_s)
    speed = np.full(len(offsets), max(speed_mps, 0.0))
    for step in range(1, PLAN_STATES):
        gap, lead = _leader(path, s[:, step - 1], offsets, obstacles, step - 1)
        s[:, step] = s[:, step - 1] + STEP_S * speed
        speed = np.maximum(speed + STEP_S * _acceleration(speed, targets, gap, lead), 0.0)
    return s, offsets


def _leader(
    path: CentrePath, s: Floats, offsets: Floats, obstacles: Obstacles, step: int
) -> tuple[Floats, Floats]:
    """Return gap [m] and speed [m/s] of what is next ahead; the path's end is a wall."""
    reach = WIDTH_M / 2
    meets = (obstacles.low[:, step] <= offsets[:, None] + reach) & (
        obstacles.high[:, step] >= offsets[:, None] - reach
    )
    ahead: NDArray[np.bool_] = obstacles.middle[:, step] > s[:, None] + REAR_AXLE_TO_CENTRE_M
    gaps = np.where(meets & ahead, obstacles.rear[:, step] - s[:, None] - FRONT_M, np.inf)
    gaps = np.concatenate([gaps, path.length - s[:, None]], axis=1)
    nearest = np.argmin(gaps, axis=1)
    speeds = np.concatenate([obstacles.speed[:, step], [0.0]])
    return gaps[np.arange(len(s)), nearest], speeds[nearest]


def _acceleration(speed: Floats, target: Floats, gap: Floats, lead: Floats) -> Floats:
    """Return the acceleration of the model [m/s^2], between hardest braking and full throttle."""
    closing = speed * (speed - lead) / (2 * np.sqrt(_ACCELERATION * _DECELERATION))
    wanted = _GAP_M + speed * _HEADWAY_S + closing
    free = 1.0 - (speed / target) ** _EXPONENT
    asked = _ACCELERATION * (free - (wanted / np.maximum(gap, _GAP_M)) ** 2)
    bounded: Floats = np.clip(asked, -_DECELERATION, _ACCELERATION)
    return bounded
