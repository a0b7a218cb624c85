"""What stands beside the road and is not annotated: houses, trees, walls, traffic lights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.random import Generator
from shapely import Polygon, STRtree

from experiments.data.frames import Floats, corners
from experiments.data.synthetic.actors import Rgb
from experiments.data.synthetic.layout import PAVEMENT_M, Layout
from experiments.data.synthetic.mesh import Box, Thing
from experiments.data.synthetic.paths import Path

_FACADES: tuple[Rgb, ...] = (
    (176, 148, 124), (190, 178, 158), (152, 152, 156), (160, 118, 102), (198, 196, 186),
)  # fmt: skip
_ROOF: Rgb = (96, 84, 80)
_TRUNK: Rgb = (92, 70, 50)
_LEAVES: tuple[Rgb, ...] = ((52, 96, 44), (70, 118, 52), (84, 108, 40))
_FENCES: tuple[Rgb, ...] = ((58, 92, 48), (78, 104, 60), (150, 146, 136))
"""Two hedges and a wall."""
_FENCE_M = 5.0
"""Length of one element of a fence."""
_FENCED = 0.85
"""Share of roadsides with a fence, which shows the road's course to the LiDAR."""
_SIGHT_M = 75.0
"""Scenery further from the drive than this is left out."""
_POLE: Rgb = (70, 72, 76)
_RED: Rgb = (255, 40, 30)
_GREEN: Rgb = (40, 240, 120)
_PLAIN: Rgb = (34, 34, 36)


@dataclass(frozen=True, slots=True)
class Placed:
    """A thing and the pose (3,) of its body frame in the log's frame."""

    thing: Thing
    pose: Floats


def _house(rng: Generator, size: tuple[float, float, float]) -> Thing:
    wall = _FACADES[int(rng.integers(len(_FACADES)))]
    length, width, height = size
    glass: Rgb = (wall[0] * 3 // 4, wall[1] * 3 // 4, wall[2] * 3 // 4 + 8)
    boxes = [Box(0.0, 0.0, 0.0, size, (wall, wall, wall, wall, _ROOF))]
    for floor in np.arange(1.2, height - 1.4, 3.0):
        # A band of windows, a little proud of the wall so that it is painted over it.
        boxes.append(Box(0.0, 0.0, float(floor), (length + 0.06, width + 0.06, 1.3), (glass,)))
    return Thing(tuple(boxes))


def _tree(rng: Generator) -> Thing:
    leaves = _LEAVES[int(rng.integers(len(_LEAVES)))]
    crown, height = float(rng.uniform(1.8, 3.2)), float(rng.uniform(2.0, 2.8))
    return Thing(
        (
            Box(0.0, 0.0, 0.0, (0.35, 0.35, height), (_TRUNK,)),
            Box(0.0, 0.0, height, (crown, crown, crown), (leaves,)),
            Box(0.0, 0.0, height + crown, (crown * 0.6, crown * 0.6, crown * 0.4), (leaves,)),
        )
    )


def _fence(colour: Rgb) -> Thing:
    return Thing((Box(0.0, 0.0, 0.0, (_FENCE_M, 0.4, 0.85), (colour,)),))


def _free(box: Floats, taken: Polygon) -> bool:
    return not bool(shapely.intersects(taken, shapely.polygons(corners(box))))


def _houses(rng: Generator, verge: Path, taken: Polygon) -> list[Placed]:
    placed, s = [], float(rng.uniform(0.0, 15.0))
    while s < verge.length - 10.0:
        length, depth = float(rng.uniform(8.0, 16.0)), float(rng.uniform(7.0, 10.0))
        setback = float(rng.uniform(4.0, 12.0)) + depth / 2
        pose = verge.offset(-setback).at(s + length / 2)
        if rng.random() < 0.6 and _free(np.array([*pose[:2], length, depth, pose[2]]), taken):
            size = (length, depth, float(rng.uniform(4.0, 13.0)))
            placed.append(Placed(_house(rng, size), pose))
        s += length + float(rng.uniform(2.0, 14.0))
    return placed


def _row(thing: Thing, poses: Floats, size: tuple[float, float], taken: Polygon) -> list[Placed]:
    """Place the same thing at all (n, 3) poses where its footprint is free."""
    boxes = np.concatenate([poses[:, :2], np.tile(size, (len(poses), 1)), poses[:, 2:]], axis=1)
    free = shapely.disjoint(taken, shapely.polygons(corners(boxes)))
    return [Placed(thing, pose) for pose in poses[free]]


def _trees(rng: Generator, verge: Path, taken: Polygon) -> list[Placed]:
    start, gap = float(rng.uniform(2.0, 12.0)), float(rng.uniform(9.0, 22.0))
    row = verge.offset(-float(rng.uniform(1.8, 3.4)))
    return _row(_tree(rng), row.at(np.arange(start, row.length, gap)), (3.0, 3.0), taken)


def _fences(rng: Generator, verge: Path, taken: Polygon) -> list[Placed]:
    colour, line = _FENCES[int(rng.integers(len(_FENCES)))], verge.offset(-0.4)
    s = np.arange(4.0, line.length - 4.0, _FENCE_M)
    s = s[rng.random(len(s)) < 0.92]
    return _row(_fence(colour), line.at(s), (_FENCE_M, 0.4), taken)


def _without_overlap(houses: list[Placed]) -> list[Placed]:
    """Drop houses that stand in an earlier one (roads bend towards each other)."""
    boxes = [
        np.array([*h.pose[:2], h.thing.boxes[0].size[0], h.thing.boxes[0].size[1], h.pose[2]])
        for h in houses
    ]
    if not boxes:
        return []
    shapes = shapely.polygons(corners(np.stack(boxes)))
    tree = STRtree(shapes)
    later, earlier = tree.query(shapes, predicate="intersects")
    clashing = set(later[earlier < later].tolist())
    return [house for n, house in enumerate(houses) if n not in clashing]


def scenery(rng: Generator, layout: Layout, reach: Floats) -> list[Placed]:
    """Draw the scenery near the points `reach` (n, 2); none is on the road or its pavement."""
    # Fences touch the pavement's edge, which is PAVEMENT_M from the road.
    taken = layout.drivable.buffer(PAVEMENT_M + 0.1)
    houses: list[Placed] = []
    small: list[Placed] = []
    for verge in layout.verges:
        houses += _houses(rng, verge, taken)
        if rng.random() < _FENCED:
            small += _fences(rng, verge, taken)
        if rng.random() < 0.5:
            small += _trees(rng, verge, taken)
    return [thing for thing in _without_overlap(houses) + small if _is_near(thing, reach)]


def _is_near(thing: Placed, reach: Floats) -> bool:
    return bool(np.hypot(*(reach - thing.pose[:2]).T).min() < _SIGHT_M)


def traffic_lights(layout: Layout, red: bool) -> list[Placed]:
    """Return the lights that face the ego: right of its stop line and across the junction."""
    crossing = layout.crossing
    if crossing is None:
        return []
    lamp = _RED if red else _GREEN
    dark = (_PLAIN, lamp, _PLAIN, _PLAIN, _PLAIN)
    near = Thing(
        (
            Box(0.0, 0.0, 0.0, (0.2, 0.2, 2.6), (_POLE,)),
            Box(0.0, 0.0, 2.6, (0.5, 0.7, 1.1), dark),
        )
    )
    far = Thing(
        (
            Box(0.0, 0.0, 0.0, (0.25, 0.25, 5.0), (_POLE,)),
            Box(0.0, 2.4, 5.0, (0.2, 5.0, 0.2), (_POLE,)),
            Box(0.0, 4.4, 4.2, (0.6, 1.0, 1.3), dark),
        )
    )
    line = layout.ego.at(crossing.enters_s)
    side = np.array([np.sin(line[2]), -np.cos(line[2])])
    ahead = np.array([np.cos(line[2]), np.sin(line[2])])
    corner = line[:2] + side * 3.0
    across = line[:2] + side * 3.4 + ahead * (2 * crossing.radius)
    return [
        Placed(near, np.array([*corner, line[2]])),
        Placed(far, np.array([*across, line[2]])),
    ]
