"""Polygon maps: one JSON file per log, the sidecar that scoring needs besides the log."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from experiments.data.errors import DataError
from experiments.data.frames import Floats

DRIVABLE = ("roadblock", "intersection", "carpark")
"""Layers whose union a car may be on; lanes and connectors lie within it (NAVSIM's DAC)."""
LAYERS = (*DRIVABLE, "lane", "lane_connector", "walkway", "crosswalk", "stop_line")


@dataclass(frozen=True, slots=True)
class MapPolygon:
    """One polygon in global coordinates; lanes carry (m, 3) poses of their centreline."""

    id: str
    layer: str
    ring: Floats
    """(n, 2) [m], open."""
    centerline: Floats | None


@dataclass(frozen=True, slots=True)
class PolygonMap:
    """The map of one log; global frame, metres."""

    polygons: tuple[MapPolygon, ...]
    route_lane_ids: tuple[str, ...]
    route_roadblock_ids: tuple[str, ...]
    centerline: Floats
    """(n, 3) poses along the route."""
    drivable: BaseGeometry
    """Union of the drivable layers, prepared for fast tests."""

    def near(self, x: float, y: float, radius_m: float) -> tuple[MapPolygon, ...]:
        """Return the polygons that come within `radius_m` of a point."""
        point = shapely.Point(x, y)
        return tuple(p for p in self.polygons if shapely.Polygon(p.ring).dwithin(point, radius_m))


def read_map(path: Path) -> PolygonMap:
    """Read a map file.

    Raises:
        DataError: the file is missing, is not JSON or lacks something.
    """
    try:
        entry = json.loads(path.read_text())
        polygons = tuple(_polygon(item) for item in entry["polygons"])
        drivable = shapely.union_all(
            [shapely.Polygon(p.ring) for p in polygons if p.layer in DRIVABLE]
        )
        shapely.prepare(drivable)
        return PolygonMap(
            polygons=polygons,
            route_lane_ids=tuple(entry["route_lane_ids"]),
            route_roadblock_ids=tuple(entry["route_roadblock_ids"]),
            centerline=np.array(entry["centerline"], np.float64),
            drivable=drivable,
        )
    except OSError as error:
        raise DataError(
            f"cannot read the map `{path}`: {error.strerror}",
            hint="scoring against the road needs one polygon map per log",
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"`{path}` is not a polygon map: {error!r}") from error


def _polygon(item: dict[str, object]) -> MapPolygon:
    layer = str(item["layer"])
    if layer not in LAYERS:
        raise ValueError(f"unknown layer `{layer}`; legal: {', '.join(LAYERS)}")
    line = item.get("centerline")
    return MapPolygon(
        id=str(item["id"]),
        layer=layer,
        ring=np.array(item["polygon"], np.float64).reshape(-1, 2),
        centerline=None if line is None else np.array(line, np.float64).reshape(-1, 3),
    )
