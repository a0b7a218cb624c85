"""Traffic at a junction, and for how long it or a red light keeps the ego at its stop line."""

from __future__ import annotations

import numpy as np

from experiments.data.synthetic import actors
from experiments.data.synthetic.actors import Actor
from experiments.data.synthetic.corridor_traffic import add_oncoming
from experiments.data.synthetic.draft import Draft
from experiments.data.synthetic.hazards import add_walker_at
from experiments.data.synthetic.layout import Crossing
from experiments.data.synthetic.lights import GREEN, Light, red_until, turning_red
from experiments.data.synthetic.motion import Stop
from experiments.data.synthetic.paths import Path

_LINE_M = 5.2
"""Cars stop this far before the junction's mouth, behind a zebra crossing if there is one."""
_GREEN, _TURNS_RED, _RED = 0.3, 0.5, 0.8
"""Plots with a green light, with one that turns red and with a red one; others have none."""


def add_junction_traffic(draft: Draft, crossing: Crossing) -> None:
    """Add cars on the other arms that the ego gives way to, or that give way to it."""
    line = crossing.enters_s - _LINE_M
    if draft.plot < _GREEN:
        _set_light(draft, crossing, Light(crossing.enters_s, crossing.connector_id, GREEN))
        _add_waiting(draft, crossing)
        if draft.layout.command == "left":
            _add_one_oncoming(draft, crossing)
        else:
            add_oncoming(draft)
    elif draft.plot < _TURNS_RED:
        arrives = draft.arrival_s(line - draft.uniform(20.0, 32.0))
        phases = turning_red(draft.rng, max(0.2, min(arrives, 9.0)))
        _set_light(draft, crossing, Light(crossing.enters_s, crossing.connector_id, phases))
        _add_crossing(draft, crossing, phases[2][0], phases[3][0])
    else:
        opens = min(draft.arrival_s(line), 7.0) + draft.uniform(0.5, 5.0)
        _add_crossing(draft, crossing, 0.0, opens)
        # Without a light there must be cars to wait for, or the wait could not be understood.
        if draft.plot < _RED or not draft.layout.cross:
            light = Light(crossing.enters_s, crossing.connector_id, red_until(opens))
            _set_light(draft, crossing, light)
        else:
            draft.stops.append(Stop(line, opens))
    if draft.layout.command != "straight" and draft.chance(0.45):
        for zebra in draft.layout.zebras:
            add_walker_at(draft, zebra)


def _set_light(draft: Draft, crossing: Crossing, light: Light) -> None:
    draft.light = light
    draft.stops += light.stops(crossing.enters_s - _LINE_M)


def _middle(path: Path) -> float:
    """Return the arc length at which `path` passes the junction's centre."""
    return float(path.s[np.argmin(np.hypot(path.x, path.y))])


def _leaving(draft: Draft, path: Path, crossing: Crossing, speed: float, at_s: float) -> Actor:
    """Return a car whose rear leaves the junction at time `at_s`."""
    body = actors.car_body(draft.rng)
    s = _middle(path) + crossing.radius + body.half - speed * at_s
    return draft.steady_car(path, s, speed, body)


def _add_crossing(draft: Draft, crossing: Crossing, from_s: float, until_s: float) -> None:
    """Cars from the side arms, the last of which has just left when the ego may go."""
    for path in draft.layout.cross:
        speed = draft.uniform(7.0, 11.0)
        leaves = until_s - draft.uniform(0.2, 1.5)
        # A car takes about two seconds to cross.
        while leaves > from_s + (1.0 if from_s == 0.0 else 3.0):
            draft.cast.append(_leaving(draft, path, crossing, speed, leaves))
            leaves -= draft.uniform(2.0, 5.0)


def _add_one_oncoming(draft: Draft, crossing: Crossing) -> None:
    """At times an oncoming car that the ego lets pass before it turns left."""
    if draft.chance(0.4):
        return
    for path in draft.layout.oncoming:
        opens = min(draft.arrival_s(crossing.enters_s - _LINE_M), 8.0) + draft.uniform(0.5, 3.0)
        speed = draft.uniform(7.0, 11.0)
        draft.cast.append(_leaving(draft, path, crossing, speed, opens))
        draft.stops.append(Stop(crossing.enters_s - _LINE_M, opens))


def _add_waiting(draft: Draft, crossing: Crossing) -> None:
    """Cars that stand at the stop lines of the side arms."""
    for path in draft.layout.cross:
        s = _middle(path) - crossing.radius - _LINE_M
        for _ in range(int(draft.rng.integers(0, 3))):
            body = actors.car_body(draft.rng)
            draft.extras.append(draft.steady_car(path, s - body.half, 0.0, body))
            s -= 2 * body.half + 2.0
