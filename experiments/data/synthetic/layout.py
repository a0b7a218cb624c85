"""What a piece of road consists of, in the local frame of its log (metres, radians)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from shapely import Polygon

from experiments.data.frames import Floats
from experiments.data.synthetic.paths import Path
from experiments.data.synthetic.towns import Town

PAVEMENT_M = 2.5
"""Width of a pavement."""
EGO_START_M = 40.0
"""Arc length of the ego path at which the drive begins."""
ZEBRA_M = (0.8, 3.4)
"""Where the stripes of a zebra crossing begin and end, from the line that cars may not pass."""

Kind = Literal["straight", "curve", "junction"]
Command = Literal["left", "straight", "right"]
Colour = Literal["white", "yellow", "kerb"]
Layer = Literal[
    "roadblock",
    "lane",
    "lane_connector",
    "intersection",
    "carpark",
    "walkway",
    "crosswalk",
    "stop_line",
]


@dataclass(frozen=True, slots=True)
class Area:
    """A map polygon: open ring (n, 2); lanes carry the (m, 3) poses of their centreline."""

    id: str
    layer: Layer
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
class Zebra:
    """A place where walkers cross, seen from the ego: `s` is where its stripes begin."""

    s: float
    """Arc length along the ego path."""
    start: Floats
    """Pose (3,) of a walker on the right pavement who looks across."""
    width: float
    """Way across, from pavement to pavement [m]."""
    to_ego: float
    """Way until the middle of the ego lane [m]."""
    area_id: str | None = None
    """Piece of lane that a traffic light closes here; None where there is no light."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A road with the paths that traffic takes on it. The ego path is that of its rear axle."""

    kind: Kind
    town: Town
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
    zebras: tuple[Zebra, ...] = ()
    """Crossings that the ego passes, in the order in which it does."""
    crossing: Crossing | None = None


def strip(right: Path, left: Path) -> Floats:
    """Return the open ring between two parallel paths."""
    return np.concatenate([right.xy(), left.xy()[::-1]])


def poses(path: Path) -> Floats:
    """Return the (n, 3) nodes of a path with their headings."""
    return np.stack([path.x, path.y, path.heading], axis=-1)


def across(path: Path, s: float, right: float, left: float) -> Floats:
    """Return the (2, 2) ends of a line across `path`, from `right` to `left` metres beside it."""
    x, y, heading = path.at(s)
    return np.array(
        [[x - side * np.sin(heading), y + side * np.cos(heading)] for side in (right, left)]
    )


def band(path: Path, s: tuple[float, float], right: float, left: float) -> Floats:
    """Return the open ring of four corners across `path`, from arc length s[0] to s[1]."""
    return np.concatenate([across(path, s[0], right, left), across(path, s[1], right, left)[::-1]])


def nearest(path: Path, point: Floats) -> tuple[float, float]:
    """Return the arc length of the node of `path` nearest to `point`, and its distance."""
    distance = np.hypot(path.x - point[0], path.y - point[1])
    return float(path.s[np.argmin(distance)]), float(distance.min())
