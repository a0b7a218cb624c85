"""Traffic lights: what they show when, and for how long they close the road."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from numpy.random import Generator

from experiments.data.synthetic.motion import Stop

LightColour = Literal["red", "yellow", "green"]
YELLOW_S = 2.0
"""How long a light is yellow before it turns red [s]."""


@dataclass(frozen=True, slots=True)
class Light:
    """The light that the ego meets."""

    s: float
    """Arc length on the ego path of the line that its heads stand at."""
    area_id: str
    """Piece of lane that it closes."""
    phases: tuple[tuple[float, LightColour], ...]
    """(since [s], colour), in order; the first is from 0 on."""

    def colour_at(self, time: float) -> LightColour:
        """Return what it shows."""
        return [colour for since, colour in self.phases if since <= time][-1]

    def stops(self, line_s: float) -> tuple[Stop, ...]:
        """Return the times in which it is yellow or red as stops at arc length `line_s`."""
        ends = [since for since, _ in self.phases[1:]] + [float("inf")]
        spans = [
            (since, end)
            for (since, colour), end in zip(self.phases, ends, strict=True)
            if colour != "green"
        ]
        return tuple(Stop(line_s, until, since) for since, until in spans)


def red_until(opens_s: float) -> tuple[tuple[float, LightColour], ...]:
    """Return the phases of a light that is red at first."""
    return ((0.0, "red"), (opens_s, "green"))


def turning_red(rng: Generator, at_s: float) -> tuple[tuple[float, LightColour], ...]:
    """Return the phases of a light that turns yellow at `at_s`, then red for some seconds."""
    red = at_s + YELLOW_S
    opens = red + float(rng.uniform(3.0, 6.5))
    return ((0.0, "green"), (at_s, "yellow"), (red, "red"), (opens, "green"))


GREEN: tuple[tuple[float, LightColour], ...] = ((0.0, "green"),)
