"""What the parts of a story share while it is being written: dice, road and cast."""

from __future__ import annotations

from dataclasses import dataclass, field

from numpy.random import Generator

from experiments.data.synthetic import actors
from experiments.data.synthetic.actors import Actor, Body
from experiments.data.synthetic.layout import Layout
from experiments.data.synthetic.motion import Stop, steady
from experiments.data.synthetic.paths import Path


@dataclass(slots=True)
class Draft:
    """A story in the making: parts add to `cast` and close lines with `stops`."""

    rng: Generator
    layout: Layout
    num_steps: int
    limit: float
    """Speed the road allows [m/s]."""
    cast: list[Actor] = field(default_factory=list)
    stops: list[Stop] = field(default_factory=list)
    """Lines that cars on the ego path may not pass yet."""
    red_until_s: float | None = None
    """When the traffic light turns green; None without a light, 0 if green from the start."""

    def chance(self, share: float) -> bool:
        """Throw a coin that shows heads with probability `share`."""
        return bool(self.rng.random() < share)

    def uniform(self, low: float, high: float) -> float:
        """Draw a number between `low` and `high`."""
        return float(self.rng.uniform(low, high))

    def add_steady_car(self, path: Path, s: float, speed: float, body: Body | None = None) -> None:
        """Add a car that is `s` metres along `path` at first and keeps its speed."""
        body = body or actors.car_body(self.rng)
        self.cast.append(actors.car(body, path, steady(s, speed, self.num_steps)))
