"""Traffic on roads without a junction, and the things that make the ego brake there."""

from __future__ import annotations

import numpy as np

from experiments.data.frames import Floats
from experiments.data.synthetic import actors
from experiments.data.synthetic.draft import Draft
from experiments.data.synthetic.layout import EGO_START_M, LANE_M
from experiments.data.synthetic.motion import Stop
from experiments.data.synthetic.paths import Path

_CONES_M = 1.72
"""Distance of a row of cones from the middle of the lane."""


def add_oncoming(draft: Draft) -> None:
    """Add cars on the lanes of the other direction."""
    for path in draft.layout.oncoming:
        s = draft.uniform(0.0, 60.0)
        while s < path.length - 20.0:
            if draft.chance(0.5):
                speed = draft.limit * draft.uniform(0.6, 0.75)
                draft.extras.append(draft.steady_car(path, s, speed))
            s += draft.uniform(32.0, 70.0)


def add_walkers(draft: Draft) -> None:
    """Add pedestrians on the pavements."""
    for path in draft.layout.pavements:
        for s in np.arange(draft.uniform(5.0, 30.0), path.length - 15.0, 38.0):
            if draft.chance(0.45):
                way = path if draft.chance(0.5) else path.reversed()
                speed = draft.uniform(0.8, 1.5)
                person = actors.walker(draft.rng, way, float(s), speed, draft.num_steps)
                draft.extras.append(person)


def add_corridor_traffic(draft: Draft) -> None:
    """Add cars around the ego, and at times a reason to stop or take care."""
    add_oncoming(draft)
    _add_alongside(draft)
    _add_parked(draft)
    if draft.plot < 0.16:
        _add_crossing_walker(draft)
    elif draft.plot < 0.28:
        _add_blockade(draft)
    elif draft.plot < 0.42:
        _add_roadworks(draft)


def _add_alongside(draft: Draft) -> None:
    for path in draft.layout.alongside:
        s = EGO_START_M - draft.uniform(0.0, 25.0)
        speed = draft.limit * draft.uniform(0.5, 0.85)
        for _ in range(int(draft.rng.integers(1, 4))):
            draft.extras.append(draft.steady_car(path, s, speed))
            s += draft.uniform(14.0, 35.0)


def _add_parked(draft: Draft) -> None:
    path = draft.layout.parking
    if path is None:
        return
    s, fill = draft.uniform(10.0, 20.0), draft.uniform(0.3, 0.9)
    while s < path.length - 20.0:
        if draft.chance(fill):
            body = actors.car_body(draft.rng)
            draft.extras.append(actors.parked(body, path.at(s), draft.num_steps))
        s += draft.uniform(8.0, 9.5)


def _nearest(path: Path, point: Floats) -> tuple[float, float]:
    """Return the arc length of the node of `path` nearest to `point`, and its distance."""
    distance = np.hypot(path.x - point[0], path.y - point[1])
    return float(path.s[np.argmin(distance)]), float(distance.min())


def _add_crossing_walker(draft: Draft) -> None:
    """A pedestrian waits at the kerb, then crosses; the ego waits until its lane is free."""
    near, far = draft.layout.pavements
    s = EGO_START_M + draft.uniform(28.0, 60.0)
    ego = draft.layout.ego.at(s)
    at, to_ego = _nearest(near, ego)
    start = near.at(at)
    start[2] += np.pi / 2
    _, width = _nearest(far, start)
    begins = draft.uniform(0.5, 4.0)
    person = actors.crossing_walker(draft.rng, start, width, begins, draft.num_steps)
    draft.cast.append(person)
    clear = begins + (to_ego + LANE_M / 2 + 0.8) / actors.WALKING_SPEED
    draft.stops.append(Stop(s - 2.5, clear))


def _add_blockade(draft: Draft) -> None:
    """A barrier across the ego lane, with cones before it: the ego stops for good."""
    path, steps = draft.layout.ego, draft.num_steps
    s = EGO_START_M + draft.uniform(38.0, 75.0)
    draft.cast.append(actors.barrier(path.at(s), steps))
    for back, left in ((2.0, -1.4), (4.0, -1.5), (6.5, -1.6), (2.0, 1.3)):
        draft.cast.append(actors.cone(path.offset(left).at(s - back), steps))
    draft.stops.append(Stop(s - 6.5, np.inf))


def _add_roadworks(draft: Draft) -> None:
    """Cones along the right edge of the lane, where it is straight enough to pass them."""
    path = draft.layout.ego
    edge = path.offset(-_CONES_M)
    start = EGO_START_M + draft.uniform(10.0, 50.0)
    for s in start + 3.5 * np.arange(7):
        ahead = np.abs(path.curvature_at(np.arange(s - 5.0, s + 2.0)))
        if ahead.max() < 0.02:
            at, _ = _nearest(edge, path.at(s))
            draft.cast.append(actors.cone(edge.at(at), draft.num_steps))
