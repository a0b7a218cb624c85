"""What stands beside the road and is not annotated: houses, trees, walls, traffic lights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.random import Generator
from shapely import Polygon, STRtree

from experiments.data.frames import Floats, corners
from experiments.data.synthetic.actors import Rgb
from experiments.data.synthetic.layout import Layout
from experiments.data.synthetic.mesh import Box, Thing
from experiments.data.synthetic.paths import Path

_FACADES: tuple[Rgb, ...] = (
    (176, 132, 104), (198, 180, 150), (150, 150, 154), (164, 92, 74), (206, 202, 190),
)  # fmt: skip
_ROOF: Rgb = (96, 84, 80)
_TRUNK: Rgb = (92, 70, 50)
_LEAVES: tuple[Rgb, ...] = ((52, 96, 44), (70, 118, 52), (84, 108, 40))
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
    dark: Rgb = (wall[0] // 2, wall[1] // 2, wall[2] // 2 + 12)
    boxes = [Box(0.0, 0.0, 0.0, size, (wall, wall, wall, wall, _ROOF))]
    for floor in np.arange(1.2, height - 1.4, 3.0):
        # A band of windows along the side that faces the road, and on the ends.
        boxes.append(Box(0.0, 0.0, float(floor), (length + 0.06, width + 0.06, 1.3), (dark,)))
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


def _wall() -> Thing:
    return Thing((Box(0.0, 0.0, 0.0, (6.0, 0.3, 0.9), ((132, 124, 112),)),))


def _free(box: Floats, taken: Polygon) -> bool:
    return not bool(shapely.intersects(taken, shapely.polygons(corners(box))))


def _houses(rng: Generator, verge: Path, taken: Polygon) -> list[Placed]:
    placed, s = [], float(rng.uniform(0.0, 15.0))
    while s < verge.length - 10.0:
        length, depth = float(rng.uniform(8.0, 16.0)), float(rng.uniform(7.0, 10.0))
        setback = float(rng.uniform(3.5, 9.0)) + depth / 2
        pose = verge.offset(-setback).at(s + length / 2)
        if rng.random() < 0.75 and _free(np.array([*pose[:2], length, depth, pose[2]]), taken):
            size = (length, depth, float(rng.uniform(4.0, 13.0)))
            placed.append(Placed(_house(rng, size), pose))
        s += length + float(rng.uniform(2.0, 14.0))
    return placed


def _trees(rng: Generator, verge: Path, taken: Polygon) -> list[Placed]:
    placed, gap = [], float(rng.uniform(9.0, 22.0))
    for s in np.arange(float(rng.uniform(2.0, 12.0)), verge.length, gap):
        pose = verge.offset(-float(rng.uniform(0.8, 2.4))).at(float(s))
        if _free(np.array([*pose[:2], 3.0, 3.0, 0.0]), taken):
            placed.append(Placed(_tree(rng), pose))
    return placed


def _walls(rng: Generator, verge: Path, taken: Polygon) -> list[Placed]:
    placed = []
    for s in np.arange(4.0, verge.length - 4.0, 6.2):
        pose = verge.offset(-0.4).at(float(s))
        if rng.random() < 0.9 and _free(np.array([*pose[:2], 6.0, 0.3, pose[2]]), taken):
            placed.append(Placed(_wall(), pose))
    return placed


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


def scenery(rng: Generator, layout: Layout) -> list[Placed]:
    """Draw the scenery; nothing stands on the road or its pavement."""
    taken = layout.drivable.buffer(2.9)
    houses: list[Placed] = []
    small: list[Placed] = []
    for verge in layout.verges:
        houses += _houses(rng, verge, taken)
        if rng.random() < 0.35:
            small += _walls(rng, verge, taken)
        if rng.random() < 0.8:
            small += _trees(rng, verge, taken)
    return _without_overlap(houses) + small


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
