"""What the parts of a story share while it is being written: dice, road and cast."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator

from experiments.data.synthetic import actors
from experiments.data.synthetic.actors import Actor, Body
from experiments.data.synthetic.layout import Layout
from experiments.data.synthetic.lights import Light
from experiments.data.synthetic.motion import (
    STEP_S,
    Driver,
    Leader,
    Motion,
    Stop,
    drive,
    steady,
)
from experiments.data.synthetic.paths import Path


@dataclass(slots=True)
class Draft:
    """A story in the making: parts add objects, and close lines with `stops`."""

    rng: Generator
    layout: Layout
    num_steps: int
    limit: float
    """Speed the road allows [m/s]."""
    ego: Driver
    plot: float
    """In [0, 1): picks what makes this drive special."""
    cast: list[Actor] = field(default_factory=list)
    """Objects that the ego answers to; without them its motion could not be understood."""
    extras: list[Actor] = field(default_factory=list)
    """Objects that only happen to be there; those in the way of others are left out."""
    stops: list[Stop] = field(default_factory=list)
    """Lines that cars on the ego path may not pass for a while."""
    leaders: list[Leader] = field(default_factory=list)
    """Cars that the ego follows."""
    light: Light | None = None
    """The traffic light that the ego meets."""

    def chance(self, share: float) -> bool:
        """Throw a coin that shows heads with probability `share`."""
        return bool(self.rng.random() < share)

    def uniform(self, low: float, high: float) -> float:
        """Draw a number between `low` and `high`."""
        return float(self.rng.uniform(low, high))

    def steady_car(self, path: Path, s: float, speed: float, body: Body | None = None) -> Actor:
        """Return a car that is `s` metres along `path` at first and keeps its speed."""
        body = body or actors.car_body(self.rng)
        return actors.car(body, path, steady(s, speed, self.num_steps))

    def ego_motion(self) -> Motion:
        """Return how the ego drives if nothing is added."""
        leaders, stops = tuple(self.leaders), tuple(self.stops)
        return drive(self.layout.ego, self.ego, self.num_steps, leaders=leaders, stops=stops)

    def arrival_s(self, s: float) -> float:
        """Return when the ego's front comes to arc length `s`; infinite if it never does."""
        passed = np.flatnonzero(self.ego_motion().s + self.ego.front >= s)
        return float(passed[0] * STEP_S) if len(passed) else np.inf
