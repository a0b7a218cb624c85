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
from experiments.data.synthetic.motion import STEP_S, STEPS_PER_FRAME, Driver, Motion, drive
from experiments.data.vehicle import FRONT_M, footprints

_CLEARANCE_M = 0.25
"""Least distance between the expert and anything annotated."""
_LEAST_SPEED = 1.0
"""A drive on which the ego is slower than this on average is dull [m/s]."""
FASTEST = 12.5
"""Nobody drives faster [m/s]."""
_LIMITS = {"straight": (8.0, FASTEST), "curve": (8.0, 11.0), "junction": (7.5, 10.0)}
"""Range of speed limits on each kind of road [m/s]."""
_ATTEMPTS = 12
_FOLLOWS = 0.5
"""Share of drives with a car ahead."""


@dataclass(frozen=True, slots=True)
class Story:
    """A drive without collisions: the expert's motion and all annotated objects."""

    ego: Motion
    actors: tuple[Actor, ...]
    red_until_s: float | None
    """When the traffic light turns green; None without a light, 0 if green from the start."""


def write_story(rng: Generator, layout: Layout, num_steps: int, plot: float) -> Story | None:
    """Draw what happens on `layout` until it is sound; None if it is not after some attempts.

    `plot` in [0, 1) picks the event of the drive. It and whether a car drives ahead are settled
    before the first attempt, so that hard cases do not become rare.
    """
    follows = bool(rng.random() < _FOLLOWS)
    for _ in range(_ATTEMPTS):
        draft = _draw(rng, layout, num_steps, plot)
        leader = _add_lead(draft) if follows else None
        ego = _drive_ego(draft, leader)
        if ego.s[-1] - ego.s[0] < _LEAST_SPEED * num_steps * STEP_S:
            continue
        if _runs_a_line(draft, ego, FRONT_M):
            continue
        if leader is not None and _runs_a_line(draft, leader[0], leader[1].front):
            continue
        cast = _without_conflicts(draft, layout.ego.at(ego.s))
        if cast:
            return Story(ego, cast, draft.red_until_s)
    return None


def _draw(rng: Generator, layout: Layout, num_steps: int, plot: float) -> Draft:
    slowest, fastest = _LIMITS[layout.kind]
    draft = Draft(rng, layout, num_steps, limit=float(rng.uniform(slowest, fastest)), plot=plot)
    if layout.crossing is None:
        add_corridor_traffic(draft)
    else:
        add_junction_traffic(draft, layout.crossing)
    add_walkers(draft)
    return draft


def _drive_ego(draft: Draft, leader: tuple[Motion, Driver] | None) -> Motion:
    speed = draft.limit * draft.uniform(0.5, 1.0)
    ego = Driver(EGO_START_M, speed, ((0.0, draft.limit),), front=FRONT_M, rear=0.0)
    path, stops = draft.layout.ego, tuple(draft.stops)
    return drive(path, ego, draft.num_steps, leader=leader, stops=stops)


def _runs_a_line(draft: Draft, motion: Motion, front_m: float) -> bool:
    """Whether a car that came from before a closed line was too fast to stop there."""
    front, times = motion.s + front_m, np.arange(draft.num_steps) * STEP_S
    return any(
        front[0] < stop.s and bool(np.any((front > stop.s) & (times < stop.until_s)))
        for stop in draft.stops
    )


def _add_lead(draft: Draft) -> tuple[Motion, Driver]:
    """A car ahead of the ego: a slower one, or one that brakes and perhaps goes on."""
    body = actors.car_body(draft.rng)
    cruise = draft.limit * draft.uniform(0.45, 0.95)
    desired = [(0.0, cruise)]
    if draft.chance(0.55):
        brakes = draft.uniform(1.5, 6.0)
        desired.append((brakes, draft.uniform(0.0, 0.35) * cruise))
        if draft.chance(0.5):
            desired.append((brakes + draft.uniform(2.5, 4.5), draft.limit))
    start = EGO_START_M + FRONT_M + draft.uniform(9.0, 28.0) + body.half
    driver = Driver(start, cruise, tuple(desired), front=body.half, rear=body.half)
    motion = drive(draft.layout.ego, driver, draft.num_steps, stops=tuple(draft.stops))
    draft.cast.append(actors.car(body, draft.layout.ego, motion))
    return motion, driver


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
