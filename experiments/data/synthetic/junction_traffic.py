"""Traffic at a junction, and for how long it or a red light keeps the ego at its stop line."""

from __future__ import annotations

import numpy as np

from experiments.data.synthetic import actors
from experiments.data.synthetic.actors import Actor
from experiments.data.synthetic.corridor_traffic import add_oncoming
from experiments.data.synthetic.draft import Draft
from experiments.data.synthetic.layout import Crossing
from experiments.data.synthetic.motion import Stop
from experiments.data.synthetic.paths import Path

_LINE_M = 5.2
"""Cars stop this far before the junction's mouth, behind a zebra crossing if there is one."""
_GREEN = 0.45
_UNSIGNALLED = 0.2
"""Shares of junctions with a green light, and with none; the others show red."""


def add_junction_traffic(draft: Draft, crossing: Crossing) -> None:
    """Add cars on the other arms that the ego gives way to, or that give way to it."""
    if draft.plot < _GREEN:
        draft.red_until_s = 0.0
        _add_waiting(draft, crossing)
        if draft.layout.command == "left":
            _add_one_oncoming(draft, crossing)
        else:
            add_oncoming(draft)
        return
    opens = draft.uniform(3.0, 8.0)
    draft.stops.append(Stop(crossing.enters_s - _LINE_M, opens))
    _add_crossing(draft, crossing, opens)
    # Without a light there must be cars to wait for, or the wait could not be understood.
    if draft.plot < 1.0 - _UNSIGNALLED or not draft.layout.cross:
        draft.red_until_s = opens


def _middle(path: Path) -> float:
    """Return the arc length at which `path` passes the junction's centre."""
    return float(path.s[np.argmin(np.hypot(path.x, path.y))])


def _leaving(draft: Draft, path: Path, crossing: Crossing, speed: float, at_s: float) -> Actor:
    """Return a car whose rear leaves the junction at time `at_s`."""
    body = actors.car_body(draft.rng)
    s = _middle(path) + crossing.radius + body.half - speed * at_s
    return draft.steady_car(path, s, speed, body)


def _add_crossing(draft: Draft, crossing: Crossing, until_s: float) -> None:
    """Cars from the side arms, the last of which has just left when the ego may go."""
    for path in draft.layout.cross:
        speed = draft.uniform(7.0, 11.0)
        leaves = until_s - draft.uniform(0.2, 1.5)
        while leaves > 1.0:
            draft.cast.append(_leaving(draft, path, crossing, speed, leaves))
            leaves -= draft.uniform(2.0, 5.0)


def _add_one_oncoming(draft: Draft, crossing: Crossing) -> None:
    """At times an oncoming car that the ego lets pass before it turns left."""
    if draft.chance(0.4):
        return
    for path in draft.layout.oncoming:
        opens = draft.uniform(2.5, 6.0)
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
