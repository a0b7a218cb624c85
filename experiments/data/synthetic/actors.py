"""Everything that is annotated: cars, walkers, cones and barriers with their motion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.random import Generator

from experiments.data.frames import Floats
from experiments.data.synthetic.motion import STEP_S, Motion, steady
from experiments.data.synthetic.paths import Path

ActorKind = Literal["vehicle", "pedestrian", "bicycle", "traffic_cone", "barrier"]
Rgb = tuple[int, int, int]

_PAINTS: tuple[Rgb, ...] = (
    (196, 30, 34), (32, 74, 158), (236, 236, 232), (30, 30, 34),
    (140, 144, 150), (214, 168, 40), (36, 110, 66), (120, 60, 140),
)  # fmt: skip
_CLOTHES: tuple[Rgb, ...] = ((226, 120, 20), (60, 60, 190), (180, 40, 120), (40, 140, 130))

WALKING_SPEED = 1.5
"""Speed of a pedestrian who crosses the road [m/s]."""


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
        return Body((float(rng.uniform(5.6, 7.2)), 2.2, float(rng.uniform(2.4, 2.9))), paint)
    length, width = float(rng.uniform(4.1, 4.9)), float(rng.uniform(1.75, 1.95))
    return Body((length, width, float(rng.uniform(1.4, 1.7))), paint)


def car(body: Body, path: Path, motion: Motion) -> Actor:
    """Return a car whose centre follows `path`."""
    brakes = (motion.acceleration < -0.7) | (motion.speed < 0.2)
    poses = path.at(motion.s)
    return Actor("vehicle", body.size, body.colour, poses, motion.speed, brakes.astype(np.float64))


def parked(body: Body, pose: Floats, num_steps: int) -> Actor:
    """Return a car that stands at `pose` throughout, lights off."""
    zeros = np.zeros(num_steps)
    return Actor("vehicle", body.size, body.colour, np.tile(pose, (num_steps, 1)), zeros, zeros)


def walker(rng: Generator, path: Path, s: float, speed: float, num_steps: int) -> Actor:
    """Return a pedestrian who walks along `path`."""
    motion = steady(s, speed, num_steps)
    return _walking(rng, path.at(motion.s), motion.speed)


def crossing_walker(
    rng: Generator, start: Floats, distance: float, begins_s: float, num_steps: int
) -> Actor:
    """Return a pedestrian who waits at pose `start`, then walks `distance` metres ahead."""
    times = np.arange(num_steps) * STEP_S
    gone = np.clip((times - begins_s) * WALKING_SPEED, 0.0, distance)
    poses = np.tile(start, (num_steps, 1))
    poses[:, 0] += gone * np.cos(start[2])
    poses[:, 1] += gone * np.sin(start[2])
    return _walking(rng, poses, WALKING_SPEED * ((gone > 0) & (gone < distance)))


def _walking(rng: Generator, poses: Floats, speed: Floats) -> Actor:
    clothes = _CLOTHES[int(rng.integers(len(_CLOTHES)))]
    size = (0.6, 0.6, float(rng.uniform(1.6, 1.9)))
    return Actor("pedestrian", size, clothes, poses, speed, np.zeros(len(poses)))


def cone(pose: Floats, num_steps: int) -> Actor:
    """Return a traffic cone at `pose`."""
    zeros = np.zeros(num_steps)
    poses = np.tile(pose, (num_steps, 1))
    return Actor("traffic_cone", (0.45, 0.45, 0.8), (235, 92, 20), poses, zeros, zeros)


def barrier(pose: Floats, num_steps: int) -> Actor:
    """Return a barrier, 0.5 m deep and 2.6 m wide, across the heading of `pose`."""
    zeros = np.zeros(num_steps)
    poses = np.tile(pose, (num_steps, 1))
    return Actor("barrier", (0.5, 2.6, 1.0), (222, 60, 40), poses, zeros, zeros)
