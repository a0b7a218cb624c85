"""What makes the ego brake: walkers who cross, lights that are red, cars that cut in.

Each is timed by when the ego would be there, so that it has to be answered.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from experiments.data.frames import Floats
from experiments.data.synthetic import actors
from experiments.data.synthetic.actors import Body
from experiments.data.synthetic.draft import Draft
from experiments.data.synthetic.layout import Zebra, nearest
from experiments.data.synthetic.lights import Light, red_until, turning_red
from experiments.data.synthetic.motion import STEP_S, Driver, Leader, Stop, drive
from experiments.data.synthetic.paths import Path

_LANE_CLEAR_M = 2.6
"""A walker this far beyond the middle of the ego lane is out of the way."""
_LEAVES_SIGHT_S = 1.0
"""How long before the end of a log something may still begin."""
_MERGE_S, _BLINKS_S = 2.8, 1.4
"""How long a car takes to change lanes, and for how long it blinks before that."""


def add_walker_at(draft: Draft, zebra: Zebra) -> None:
    """A pedestrian comes to the kerb, then crosses; the ego waits until its lane is free."""
    arrives = draft.arrival_s(zebra.s - draft.uniform(14.0, 30.0))
    begins = max(0.4, arrives + draft.uniform(0.6, 2.4))
    if begins > draft.num_steps * STEP_S - _LEAVES_SIGHT_S:
        return
    person = actors.crossing_walker(draft.rng, zebra.start, zebra.width, begins, draft.num_steps)
    draft.cast.append(person)
    clear = begins + (zebra.to_ego + _LANE_CLEAR_M) / actors.WALKING_SPEED
    draft.stops.append(Stop(zebra.s - 0.6, clear, begins - actors.LOOKS_S))
    _hide_behind_van(draft, zebra)


def _hide_behind_van(draft: Draft, zebra: Zebra) -> None:
    """Park a van before the crossing, if cars park there: one sees the walker late."""
    parking = draft.layout.parking
    if parking is None or draft.chance(0.4):
        return
    at, _ = nearest(parking, zebra.start)
    body = actors.van_body(draft.rng)
    draft.extras.append(actors.parked(body, parking.at(at - body.half - 3.4), draft.num_steps))


def add_light(draft: Draft, zebra: Zebra) -> None:
    """A light for walkers: red when the ego comes, or turning red as it comes."""
    assert zebra.area_id is not None
    line = zebra.s - 1.4
    if draft.chance(0.5):
        arrives = draft.arrival_s(line)
        phases = red_until(min(arrives, 8.0) + draft.uniform(-1.5, 4.5))
    else:
        arrives = draft.arrival_s(line - draft.uniform(22.0, 34.0))
        phases = turning_red(draft.rng, max(0.3, min(arrives, 12.0)))
    draft.light = Light(zebra.s, zebra.area_id, phases)
    draft.stops += draft.light.stops(line)
    for (since, colour), (until, _) in pairwise(phases):
        if colour == "red" and until - since > 2.0:
            walks = since + draft.uniform(0.2, 0.8)
            person = actors.crossing_walker(
                draft.rng, zebra.start, zebra.width, walks, draft.num_steps
            )
            draft.extras.append(person)


def _sideways(beside: float, times: Floats, begins_s: float) -> Floats:
    """Return the offsets (T,) of a car that merges from `beside` metres to the left."""
    share = np.clip((times - begins_s) / _MERGE_S, 0.0, 1.0)
    return beside * (1.0 - share * share * (3.0 - 2.0 * share))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a car comes from that cuts in, and how it drives along the ego path."""

    beside: float
    """Offset from the ego path, to the left [m]."""
    driver: Driver


def _offset_at(path: Path, s: float, other: Path) -> float:
    """Return how far `other` runs to the left of `path` at arc length `s` [m]."""
    x, y, heading = path.at(s)
    there = other.at(nearest(other, np.array([x, y]))[0])
    return float(np.cos(heading) * (there[1] - y) - np.sin(heading) * (there[0] - x))


def _place(draft: Draft, body: Body, begins: float) -> _Place | None:
    """Return a car in the lane beside the ego, or in a parking place; None without either."""
    path, layout, half = draft.layout.ego, draft.layout, body.half
    times, ego = np.arange(draft.num_steps) * STEP_S, draft.ego_motion()
    front = float(np.interp(begins, times, ego.s)) + draft.ego.front
    start = front + draft.uniform(7.0, 13.0) + half
    if layout.alongside:
        speed = float(np.interp(begins, times, ego.speed)) * draft.uniform(0.55, 0.8)
        speed = max(speed, 2.5)
        driver = Driver(start - begins * speed, speed, ((0.0, speed),), half, half)
        return _Place(_offset_at(path, start, layout.alongside[0]), driver)
    if layout.parking is not None:
        start += 8.0
        wanted = ((0.0, 0.05), (begins, draft.limit * draft.uniform(0.55, 0.8)))
        driver = Driver(start, 0.0, wanted, half, half)
        return _Place(_offset_at(path, start, layout.parking), driver)
    return None


def add_cut_in(draft: Draft) -> None:
    """A car blinks and moves into the ego lane; nothing happens if it has no place to come from."""
    begins, body = draft.uniform(2.5, 9.0), actors.car_body(draft.rng)
    place = _place(draft, body, begins)
    if place is None:
        return
    path, times = draft.layout.ego, np.arange(draft.num_steps) * STEP_S
    motion = drive(path, place.driver, draft.num_steps, stops=tuple(draft.stops))
    blinking = (times > begins - _BLINKS_S) & (times < begins + _MERGE_S)
    blinks = np.where(blinking, -np.sign(place.beside), 0.0)
    offsets = _sideways(place.beside, times.astype(np.float64), begins)
    draft.cast.append(actors.merging_car(body, path, motion, offsets, blinks))
    draft.leaders.append(Leader(motion, body.half, begins - 0.4))
