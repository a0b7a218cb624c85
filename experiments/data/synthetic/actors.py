"""Everything that is annotated: cars, walkers, cones and barriers with their motion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.random import Generator

from experiments.data.frames import Floats
from experiments.data.synthetic.motion import STEP_S, Motion, steady
from experiments.data.synthetic.paths import Path
from experiments.data.synthetic.towns import Rgb

ActorKind = Literal["vehicle", "pedestrian", "bicycle", "traffic_cone", "barrier"]

_PAINTS: tuple[Rgb, ...] = (
    (196, 30, 34), (32, 74, 158), (236, 236, 232), (30, 30, 34),
    (140, 144, 150), (214, 168, 40), (36, 110, 66), (120, 60, 140),
)  # fmt: skip
_CLOTHES: tuple[Rgb, ...] = (
    (240, 120, 20), (50, 70, 220), (220, 40, 130), (30, 170, 150), (240, 210, 40),
)  # fmt: skip

WALKING_SPEED = 1.5
"""Speed of a pedestrian who crosses the road [m/s]."""
LOOKS_S = 1.2
"""How long a pedestrian stands at the kerb before crossing [s]."""


@dataclass(frozen=True, slots=True)
class Actor:
    """One annotated object; arrays have one row for every 10 Hz step."""

    kind: ActorKind
    size: tuple[float, float, float]
    """Length, width, height [m]."""
    colour: Rgb
    poses: Floats
    """(T, 3) x, y of the centre [m] and heading [rad] in the log's frame."""
    speed: Floats
    """(T,) along the heading [m/s]."""
    brakes: Floats
    """(T,) 1.0 where brake lights are on."""
    blinks: Floats
    """(T,) 1.0 where the left indicators blink, -1.0 where the right ones do."""


@dataclass(frozen=True, slots=True)
class Body:
    """Size and paint of a car."""

    size: tuple[float, float, float]
    colour: Rgb

    @property
    def half(self) -> float:
        """Half the length [m]."""
        return self.size[0] / 2


def car_body(rng: Generator) -> Body:
    """Draw a car, or at times a van."""
    paint = _PAINTS[int(rng.integers(len(_PAINTS)))]
    if rng.random() < 0.12:
        return van_body(rng)
    length, width = float(rng.uniform(4.1, 4.9)), float(rng.uniform(1.75, 1.95))
    return Body((length, width, float(rng.uniform(1.4, 1.7))), paint)


def van_body(rng: Generator) -> Body:
    """Draw a delivery van, which hides what is behind it."""
    paint = _PAINTS[int(rng.integers(len(_PAINTS)))]
    return Body((float(rng.uniform(5.6, 7.2)), 2.2, float(rng.uniform(2.4, 2.9))), paint)


def _brakes(motion: Motion) -> Floats:
    return ((motion.acceleration < -0.7) | (motion.speed < 0.2)).astype(np.float64)


def car(body: Body, path: Path, motion: Motion) -> Actor:
    """Return a car whose centre follows `path`."""
    brakes = _brakes(motion)
    poses, still = path.at(motion.s), np.zeros_like(brakes)
    return Actor("vehicle", body.size, body.colour, poses, motion.speed, brakes, still)


def merging_car(body: Body, path: Path, motion: Motion, beside: Floats, blinks: Floats) -> Actor:
    """Return a car that drives `beside` (T,) metres to the left of `path`, blinking."""
    poses = path.at(motion.s)
    heading = poses[:, 2].copy()
    poses[:, 0] -= beside * np.sin(heading)
    poses[:, 1] += beside * np.cos(heading)
    drift = np.gradient(beside, STEP_S)
    poses[:, 2] += np.arctan2(drift, np.maximum(motion.speed, 2.0))
    return Actor("vehicle", body.size, body.colour, poses, motion.speed, _brakes(motion), blinks)


def parked(body: Body, pose: Floats, num_steps: int) -> Actor:
    """Return a car that stands at `pose` throughout, lights off."""
    return _still("vehicle", body.size, body.colour, pose, num_steps)


def _still(
    kind: ActorKind, size: tuple[float, float, float], colour: Rgb, pose: Floats, num_steps: int
) -> Actor:
    zeros = np.zeros(num_steps)
    return Actor(kind, size, colour, np.tile(pose, (num_steps, 1)), zeros, zeros, zeros)


def walker(rng: Generator, path: Path, s: float, speed: float, num_steps: int) -> Actor:
    """Return a pedestrian who walks along `path`."""
    motion = steady(s, speed, num_steps)
    return _walking(rng, path.at(motion.s), motion.speed)


def crossing_walker(
    rng: Generator, start: Floats, distance: float, begins_s: float, num_steps: int
) -> Actor:
    """Return a pedestrian who comes along the kerb, looks, and crosses from pose `start`.

    Args:
        rng: dice.
        start: pose (3,) on the pavement, heading across the road.
        distance: way across [m].
        begins_s: when the pedestrian steps off, after LOOKS_S at the kerb.
        num_steps: steps of 0.1 s.
    """
    times = np.arange(num_steps) * STEP_S
    side, to_go = float(rng.choice([-1.0, 1.0])), np.maximum(begins_s - LOOKS_S - times, 0.0)
    gone = np.clip((times - begins_s) * WALKING_SPEED, 0.0, distance)
    along = -side * WALKING_SPEED * to_go
    poses = np.tile(start, (num_steps, 1))
    poses[:, 0] += gone * np.cos(start[2]) - along * np.sin(start[2])
    poses[:, 1] += gone * np.sin(start[2]) + along * np.cos(start[2])
    poses[:, 2] += np.where(to_go > 0, side * np.pi / 2, 0.0)
    moves = (to_go > 0) | ((gone > 0) & (gone < distance))
    return _walking(rng, poses, WALKING_SPEED * moves)


def _walking(rng: Generator, poses: Floats, speed: Floats) -> Actor:
    clothes = _CLOTHES[int(rng.integers(len(_CLOTHES)))]
    size = (0.6, 0.6, float(rng.uniform(1.6, 1.9)))
    zeros = np.zeros(len(poses))
    return Actor("pedestrian", size, clothes, poses, speed, zeros, zeros)


def cone(pose: Floats, num_steps: int) -> Actor:
    """Return a traffic cone at `pose`."""
    return _still("traffic_cone", (0.45, 0.45, 0.8), (235, 92, 20), pose, num_steps)


def barrier(pose: Floats, num_steps: int) -> Actor:
    """Return a barrier, 0.5 m deep and 2.6 m wide, across the heading of `pose`."""
    return _still("barrier", (0.5, 2.6, 1.0), (222, 60, 40), pose, num_steps)
