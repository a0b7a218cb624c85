"""Values out of the stand-ins of a metric cache; whatever is not as it should be is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely

from experiments.data.errors import DataError
from experiments.data.frames import Floats
from experiments.data.vehicle import FRONT_M, LENGTH_M, REAR_AXLE_TO_CENTRE_M, WIDTH_M
from experiments.scoring.pdm.metric_cache_pickle import StandIn

_WHEELBASE_M = 3.089


def stand_in(thing: object, *kinds: str) -> StandIn:
    """Return `thing`, which must be of one of the classes `kinds`."""
    if not isinstance(thing, StandIn) or type(thing).__name__ not in kinds:
        raise DataError(f"found a {type(thing).__name__} in place of {' or '.join(kinds)}")
    return thing


def attribute(thing: StandIn, name: str) -> Any:
    """Return an attribute that was pickled."""
    if name not in thing.state:
        raise DataError(f"a {type(thing).__name__} has no `{name}`")
    return thing.state[name]


def argument(thing: StandIn, place: int) -> Any:
    """Return an argument of the constructor."""
    if place >= len(thing.args):
        raise DataError(f"a {type(thing).__name__} was given {len(thing.args)} arguments")
    return thing.args[place]


def number(value: object, what: str) -> float:
    """Return a finite number."""
    if not isinstance(value, int | float | np.integer | np.floating) or not np.isfinite(value):
        raise DataError(f"{what} is {value!r}, not a finite number")
    return float(value)


def pose(thing: object) -> Floats:
    """Return the (3,) x, y [m], heading [rad] of a StateSE2."""
    state = stand_in(thing, "StateSE2")
    return np.array([number(attribute(state, name), name) for name in ("x", "y", "heading")])


def vector(thing: object) -> Floats:
    """Return the (2,) components of a StateVector2D."""
    state = stand_in(thing, "StateVector2D")
    return np.array([number(attribute(state, name), name) for name in ("_x", "_y")])


def time_us(ego: StandIn) -> int:
    """Return the instant of an EgoState [microseconds]."""
    point = stand_in(attribute(ego, "_time_point"), "TimePoint")
    return int(number(attribute(point, "time_us"), "time_us"))


def rear_axle(ego: StandIn) -> Floats:
    """Return the (3,) pose of the rear axle of an EgoState.

    nuPlan derives it from the centre, and pickles it only if somebody has asked for it before.

    Raises:
        DataError: the vehicle is not the one that the score is defined for.
    """
    footprint = stand_in(attribute(ego, "_car_footprint"), "CarFootprint")
    _require_pacifica(stand_in(attribute(footprint, "_vehicle_parameters"), "VehicleParameters"))
    if "rear_axle" in footprint.state:
        return pose(footprint.state["rear_axle"])
    x, y, heading = pose(attribute(footprint, "_center"))
    back = -REAR_AXLE_TO_CENTRE_M
    return np.array([x + back * np.cos(heading), y + back * np.sin(heading), heading])


def _require_pacifica(parameters: StandIn) -> None:
    names = ("width", "front length", "rear length", "centre of gravity", "wheelbase")
    found = dict(zip(names, parameters.args, strict=False))
    wanted = {"width": WIDTH_M, "front length": FRONT_M, "rear length": LENGTH_M - FRONT_M}
    for name, metres in {**wanted, "wheelbase": _WHEELBASE_M}.items():
        if abs(number(found.get(name), name) - metres) > 1e-6:
            raise DataError(
                f"the vehicle has a {name} of {found[name]} m, not {metres:g} m",
                hint="the PDM score is defined for nuPlan's Chrysler Pacifica",
            )


def ring(geometry: object, what: str) -> Floats:
    """Return the (V, 2) open outline of a polygon.

    Raises:
        DataError: it is no polygon, is empty, or has holes, which a ring cannot say.
    """
    if not isinstance(geometry, shapely.Polygon):
        raise DataError(f"{what} is a {type(geometry).__name__}, not a Polygon")
    if geometry.is_empty or len(geometry.interiors):
        kind = "empty" if geometry.is_empty else f"with {len(geometry.interiors)} holes"
        raise DataError(f"{what} is a polygon {kind}")
    outline: Floats = shapely.get_coordinates(geometry.exterior)[:-1]
    return outline
