"""Traffic on roads without a junction, and the things that make the ego brake there."""

from __future__ import annotations

import numpy as np

from experiments.data.synthetic import actors
from experiments.data.synthetic.draft import Draft
from experiments.data.synthetic.hazards import add_cut_in, add_light, add_walker_at
from experiments.data.synthetic.layout import EGO_START_M, Zebra, nearest
from experiments.data.synthetic.motion import Stop

_CONES_M = 1.72
"""Distance of a row of cones from the middle of the lane."""
LIT = (0.24, 0.46)
"""Plots of a corridor in which its first crossing has a traffic light."""
MERGES = (0.66, 0.86)
"""Plots in which a car cuts in."""


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
    """Add cars around the ego, and things to brake for, one after the other along the road."""
    zebras = list(draft.layout.zebras)
    if LIT[0] <= draft.plot < LIT[1] and zebras and zebras[0].area_id is not None:
        add_light(draft, zebras.pop(0))
    elif draft.plot < LIT[0]:
        _add_walker(draft, zebras)
    elif draft.plot < 0.58:
        _add_blockade(draft)
    elif draft.plot < MERGES[0]:
        _add_roadworks(draft)
    elif draft.plot < MERGES[1]:
        add_cut_in(draft)
    if draft.plot < LIT[1] or draft.plot > 0.58:
        for zebra in zebras:
            if draft.chance(0.55):
                add_walker_at(draft, zebra)
    add_oncoming(draft)
    _add_alongside(draft)
    _add_parked(draft)


def _add_walker(draft: Draft, zebras: list[Zebra]) -> None:
    """A pedestrian crosses: on a zebra if there is one, else anywhere."""
    if zebras:
        add_walker_at(draft, zebras.pop(0))
        return
    near, far = draft.layout.pavements
    s = EGO_START_M + draft.uniform(28.0, 60.0)
    at, to_ego = nearest(near, draft.layout.ego.at(s + 2.0))
    start = near.at(at)
    start[2] += np.pi / 2
    _, width = nearest(far, start)
    add_walker_at(draft, Zebra(s, start, width, to_ego))


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


def _add_blockade(draft: Draft) -> None:
    """A barrier across the ego lane, with cones before it: the ego stops for good."""
    path, steps = draft.layout.ego, draft.num_steps
    s = EGO_START_M + draft.uniform(45.0, 110.0)
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
            at, _ = nearest(edge, path.at(s))
            draft.cast.append(actors.cone(edge.at(at), draft.num_steps))
