"""What happens on a drive: the traffic, and the expert's answer to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.random import Generator

from experiments.data.frames import Floats, corners
from experiments.data.synthetic import actors
from experiments.data.synthetic.actors import Actor
from experiments.data.synthetic.corridor_traffic import add_corridor_traffic, add_walkers
from experiments.data.synthetic.draft import Draft
from experiments.data.synthetic.junction_traffic import add_junction_traffic
from experiments.data.synthetic.layout import EGO_START_M, Layout
from experiments.data.synthetic.motion import STEPS_PER_FRAME, Driver, Motion, drive
from experiments.data.vehicle import FRONT_M, footprints

_CLEARANCE_M = 0.25
"""Least distance between the expert and anything annotated."""
_LEAST_PROGRESS_M = 12.0
_ATTEMPTS = 200


@dataclass(frozen=True, slots=True)
class Story:
    """A drive without collisions: the expert's motion and all annotated objects."""

    ego: Motion
    actors: tuple[Actor, ...]
    red_until_s: float | None
    """When the traffic light turns green; None without a light, 0 if green from the start."""


def write_story(rng: Generator, layout: Layout, num_steps: int) -> Story:
    """Draw what happens on `layout` until it is sound; RuntimeError if it never is."""
    for _ in range(_ATTEMPTS):
        story = _draw(rng, layout, num_steps)
        if story.actors and _is_sound(story, layout):
            return story
    raise RuntimeError(f"no sound drive on a {layout.kind} road in {_ATTEMPTS} attempts")


def _draw(rng: Generator, layout: Layout, num_steps: int) -> Story:
    fastest = 11.0 if layout.kind == "junction" else 13.5
    draft = Draft(rng, layout, num_steps, limit=float(rng.uniform(7.2, fastest)))
    if layout.crossing is None:
        add_corridor_traffic(draft)
    else:
        add_junction_traffic(draft, layout.crossing)
    add_walkers(draft)
    leader = _add_lead(draft) if draft.chance(0.5) else None
    speed = draft.limit * draft.uniform(0.5, 1.05)
    ego = Driver(EGO_START_M, speed, ((0.0, draft.limit),), front=FRONT_M, rear=0.0)
    motion = drive(layout.ego, ego, num_steps, leader=leader, stops=tuple(draft.stops))
    return Story(motion, tuple(draft.cast), draft.red_until_s)


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


def _boxes(actor: Actor) -> Floats:
    size = np.broadcast_to(actor.size[:2], (len(actor.poses), 2))
    return np.concatenate([actor.poses[:, :2], size, actor.poses[:, 2:]], axis=-1)


def _is_sound(story: Story, layout: Layout) -> bool:
    """Whether nothing overlaps, the expert keeps clear of all and on the road, and gets on."""
    own = shapely.polygons(footprints(layout.ego.at(story.ego.s)))
    if not np.all(shapely.covers(layout.drivable, own)):
        return False
    others = shapely.polygons(np.stack([corners(_boxes(actor)) for actor in story.actors]))
    if np.any(shapely.dwithin(others, own, _CLEARANCE_M)):
        return False
    if any(_overlap(others[:, step]) for step in range(0, others.shape[1], STEPS_PER_FRAME)):
        return False
    return bool(story.ego.s[-1] - story.ego.s[0] > _LEAST_PROGRESS_M)


def _overlap(shapes: shapely.Geometry) -> bool:
    """Whether any two of the shapes touch."""
    first, second = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    return bool(np.any(first != second))
