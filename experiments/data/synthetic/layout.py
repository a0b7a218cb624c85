"""What a piece of road consists of, in the local frame of its log (metres, radians)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from shapely import Polygon

from experiments.data.frames import Floats
from experiments.data.synthetic.paths import Path

LANE_M = 3.5
"""Width of a lane."""
PAVEMENT_M = 2.5
"""Width of a pavement."""
EGO_START_M = 40.0
"""Arc length of the ego path at which the drive begins."""

Kind = Literal["straight", "curve", "junction"]
Command = Literal["left", "straight", "right"]
Colour = Literal["white", "yellow", "kerb"]


@dataclass(frozen=True, slots=True)
class Area:
    """A map polygon: open ring (n, 2); lanes carry the (m, 3) poses of their centreline."""

    id: str
    layer: Literal["roadblock", "lane", "lane_connector", "intersection", "carpark"]
    ring: Floats
    centerline: Floats | None = None


@dataclass(frozen=True, slots=True)
class Marking:
    """A painted line (n, 2) of `width` metres; `dash` is the length of strokes and of gaps."""

    line: Floats
    colour: Colour = "white"
    width: float = 0.2
    dash: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Crossing:
    """The junction on the ego path: where it begins and ends, and the connector in between."""

    enters_s: float
    leaves_s: float
    connector_id: str
    radius: float
    """Distance of the arms' mouths from the centre."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A road with the paths that traffic takes on it. The ego path is that of its rear axle."""

    kind: Kind
    command: Command
    areas: tuple[Area, ...]
    drivable: Polygon
    markings: tuple[Marking, ...]
    ego: Path
    route_lane_ids: tuple[str, ...]
    route_roadblock_ids: tuple[str, ...]
    alongside: tuple[Path, ...] = ()
    """Other lanes of the ego's direction."""
    oncoming: tuple[Path, ...] = ()
    cross: tuple[Path, ...] = ()
    """Paths through the junction from the side arms."""
    parking: Path | None = None
    """Centre line of the strip of parked cars."""
    pavements: tuple[Path, ...] = ()
    verges: tuple[Path, ...] = ()
    """Outer edges of the pavements; scenery stands to the right of each."""
    crossing: Crossing | None = None


def strip(right: Path, left: Path) -> Floats:
    """Return the open ring between two parallel paths."""
    return np.concatenate([right.xy(), left.xy()[::-1]])


def poses(path: Path) -> Floats:
    """Return the (n, 3) nodes of a path with their headings."""
    return np.stack([path.x, path.y, path.heading], axis=-1)
