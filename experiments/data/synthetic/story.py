"""What happens on a drive: the traffic, and the expert's answer to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.random import Generator
from numpy.typing import NDArray

from experiments.data.frames import Floats, corners
from experiments.data.synthetic import actors
from experiments.data.synthetic.actors import Actor
from experiments.data.synthetic.corridor_traffic import add_corridor_traffic, add_walkers
from experiments.data.synthetic.draft import Draft
from experiments.data.synthetic.junction_traffic import add_junction_traffic
from experiments.data.synthetic.layout import EGO_START_M, Layout
from experiments.data.synthetic.lights import Light
from experiments.data.synthetic.motion import (
    STEP_S,
    STEPS_PER_FRAME,
    Driver,
    Leader,
    Motion,
    drive,
)
from experiments.data.synthetic.weather import Weather
from experiments.data.vehicle import FRONT_M, footprints

_CLEARANCE_M = 0.25
"""Least distance between the expert and anything annotated."""
_LEAST_SPEED = 1.0
"""A drive on which the ego is slower than this on average is dull [m/s]."""
FASTEST = 12.5
"""Nobody drives faster [m/s]."""
_SPEEDS = {"straight": 1.0, "curve": 0.92, "junction": 0.85}
"""Share of the town's limit that is driven on each kind of road."""
_ATTEMPTS = 12
_FOLLOWS = 0.45
"""Share of drives with a car ahead."""


@dataclass(frozen=True, slots=True)
class Story:
    """A drive without collisions: the expert's motion and all annotated objects."""

    ego: Motion
    actors: tuple[Actor, ...]
    light: Light | None
    """The traffic light that the ego meets."""


def write_story(
    rng: Generator, layout: Layout, weather: Weather, num_steps: int, plot: float
) -> Story | None:
    """Draw what happens on `layout` until it is sound; None if it is not after some attempts.

    `plot` in [0, 1) picks the event of the drive. It and whether a car drives ahead are settled
    before the first attempt, so that hard cases do not become rare.
    """
    follows = bool(rng.random() < _FOLLOWS)
    for _ in range(_ATTEMPTS):
        draft = _draw(rng, layout, weather, num_steps, plot, follows)
        ego = draft.ego_motion()
        if ego.s[-1] - ego.s[0] < _LEAST_SPEED * num_steps * STEP_S:
            continue
        if _runs_a_line(draft, ego, FRONT_M):
            continue
        if any(_runs_a_line(draft, leader.motion, leader.rear) for leader in draft.leaders):
            continue
        cast = _without_conflicts(draft, layout.ego.at(ego.s))
        if cast:
            return Story(ego, cast, draft.light)
    return None


def _draw(
    rng: Generator, layout: Layout, weather: Weather, num_steps: int, plot: float, follows: bool
) -> Draft:
    usual = layout.town.limit * _SPEEDS[layout.kind] * weather.care
    limit = min(FASTEST, usual * float(rng.uniform(0.95, 1.05)))
    speed = limit * float(rng.uniform(0.6, 1.0))
    ego = Driver(EGO_START_M, speed, ((0.0, limit),), front=FRONT_M, rear=0.0)
    draft = Draft(rng, layout, num_steps, limit, ego, plot)
    if layout.crossing is None:
        add_corridor_traffic(draft)
    else:
        add_junction_traffic(draft, layout.crossing)
    if follows and not draft.leaders:
        _add_lead(draft)
    add_walkers(draft)
    return draft


def _runs_a_line(draft: Draft, motion: Motion, front_m: float) -> bool:
    """Whether a car that came from before a closed line passed it while it was closed."""
    front, times = motion.s + front_m, np.arange(draft.num_steps) * STEP_S
    passes = [(front[1:] > stop.s) & (front[:-1] <= stop.s) for stop in draft.stops]
    return any(
        bool(np.any(times[1:][now] >= stop.from_s) and np.any(times[1:][now] < stop.until_s))
        for stop, now in zip(draft.stops, passes, strict=True)
    )


def _add_lead(draft: Draft) -> None:
    """A car ahead of the ego: a slower one, or one that brakes and perhaps goes on."""
    body = actors.car_body(draft.rng)
    cruise = draft.limit * draft.uniform(0.45, 0.95)
    desired = [(0.0, cruise)]
    if draft.chance(0.6):
        brakes = draft.uniform(1.5, 8.0)
        desired.append((brakes, draft.uniform(0.0, 0.35) * cruise))
        if draft.chance(0.7):
            desired.append((brakes + draft.uniform(2.5, 4.5), draft.limit))
    start = EGO_START_M + FRONT_M + draft.uniform(9.0, 28.0) + body.half
    driver = Driver(start, cruise, tuple(desired), front=body.half, rear=body.half)
    motion = drive(draft.layout.ego, driver, draft.num_steps, stops=tuple(draft.stops))
    draft.cast.append(actors.car(body, draft.layout.ego, motion))
    draft.leaders.append(Leader(motion, body.half))


def _outlines(actor: Actor) -> NDArray[np.object_]:
    """Return the polygons of an object, one for each step."""
    size = np.broadcast_to(actor.size[:2], (len(actor.poses), 2))
    boxes = np.concatenate([actor.poses[:, :2], size, actor.poses[:, 2:]], axis=-1)
    return np.asarray(shapely.polygons(corners(boxes)))


def _without_conflicts(draft: Draft, ego: Floats) -> tuple[Actor, ...] | None:
    """Return the objects that touch neither the ego at poses (T, 3) nor each other.

    Extras that do are left out; if the cast itself does, there is no story: None.
    """
    own = shapely.polygons(footprints(ego))
    kept: list[Actor] = []
    shapes: list[NDArray[np.object_]] = []
    for number, actor in enumerate(draft.cast + draft.extras):
        shape = _outlines(actor)
        if np.any(shapely.dwithin(shape, own, _CLEARANCE_M)) or _touch(shape, shapes):
            if number < len(draft.cast):
                return None
            continue
        kept.append(actor)
        shapes.append(shape)
    return tuple(kept)


def _touch(shape: NDArray[np.object_], others: list[NDArray[np.object_]]) -> bool:
    """Whether the outlines of one object touch those of any other at some frame."""
    frames = slice(None, None, STEPS_PER_FRAME)
    if not others:
        return False
    return bool(np.any(shapely.intersects(np.stack(others)[:, frames], shape[frames])))
