"""What stands beside the road and is not annotated: houses, trees, fences."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.random import Generator
from shapely import Polygon, STRtree

from experiments.data.frames import Floats, corners
from experiments.data.synthetic.layout import PAVEMENT_M, Layout
from experiments.data.synthetic.mesh import Box, Thing
from experiments.data.synthetic.paths import Path
from experiments.data.synthetic.placed import Placed
from experiments.data.synthetic.towns import Rgb, Town

_TRUNK: Rgb = (92, 70, 50)
_LIT_WINDOW: Rgb = (250, 214, 130)
_FENCE_M = 5.0
"""Length of one element of a fence."""
_SIGHT_M = 75.0
"""Scenery further from the drive than this is left out."""
_HOUSE_DEPTH_M = (7.0, 10.0)
_HOUSE_LENGTH_M = (8.0, 16.0)
_LIT_FLOORS = 0.45
"""Share of floors that are lit when it is dark."""


def _house(rng: Generator, town: Town, size: tuple[float, float, float], is_dark: bool) -> Thing:
    wall = town.facades[int(rng.integers(len(town.facades)))]
    length, width, height = size
    glass: Rgb = (wall[0] * 3 // 5, wall[1] * 3 // 5, wall[2] * 3 // 5 + 16)
    boxes = [Box(0.0, 0.0, 0.0, size, (wall, wall, wall, wall, town.roof))]
    for floor in np.arange(1.2, height - 1.4, 3.0):
        is_lit = bool(rng.random() < _LIT_FLOORS) and is_dark
        # A band of windows, a little proud of the wall so that it is painted over it.
        band = (length + 0.06, width + 0.06, 1.3)
        colour = _LIT_WINDOW if is_lit else glass
        boxes.append(Box(0.0, 0.0, float(floor), band, (colour,), glow=0.8 if is_lit else 0.0))
    return Thing(tuple(boxes))


def _tree(rng: Generator, town: Town) -> Thing:
    leaves = town.crowns[int(rng.integers(len(town.crowns)))]
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


def _houses(rng: Generator, town: Town, verge: Path, taken: Polygon, is_dark: bool) -> list[Placed]:
    placed, s = [], float(rng.uniform(0.0, 15.0))
    while s < verge.length - 10.0:
        length, depth = float(rng.uniform(*_HOUSE_LENGTH_M)), float(rng.uniform(*_HOUSE_DEPTH_M))
        setback = float(rng.uniform(*town.setback_m)) + depth / 2
        pose = verge.offset(-setback).at(s + length / 2)
        box = np.array([*pose[:2], length, depth, pose[2]])
        if rng.random() < town.built and _free(box, taken):
            size = (length, depth, float(rng.uniform(*town.storeys_m)))
            placed.append(Placed(_house(rng, town, size, is_dark), pose))
        s += length + float(rng.uniform(*town.plots_m))
    return placed


def _row(thing: Thing, poses: Floats, size: tuple[float, float], taken: Polygon) -> list[Placed]:
    """Place the same thing at all (n, 3) poses where its footprint is free."""
    boxes = np.concatenate([poses[:, :2], np.tile(size, (len(poses), 1)), poses[:, 2:]], axis=1)
    free = shapely.disjoint(taken, shapely.polygons(corners(boxes)))
    return [Placed(thing, pose) for pose in poses[free]]


def _trees(rng: Generator, town: Town, verge: Path, taken: Polygon) -> list[Placed]:
    start, gap = float(rng.uniform(2.0, 12.0)), float(rng.uniform(9.0, 22.0))
    row = verge.offset(-float(rng.uniform(1.8, 3.4)))
    return _row(_tree(rng, town), row.at(np.arange(start, row.length, gap)), (3.0, 3.0), taken)


def _fences(rng: Generator, town: Town, verge: Path, taken: Polygon) -> list[Placed]:
    colour, line = town.fences[int(rng.integers(len(town.fences)))], verge.offset(-0.4)
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


def scenery(rng: Generator, layout: Layout, reach: Floats, *, is_dark: bool) -> list[Placed]:
    """Draw the scenery near the points `reach` (n, 2); none is on the road or its pavement."""
    town = layout.town
    # Fences touch the pavement's edge, which is PAVEMENT_M from the road.
    taken = layout.drivable.buffer(PAVEMENT_M + 0.1)
    houses: list[Placed] = []
    small: list[Placed] = []
    for verge in layout.verges:
        houses += _houses(rng, town, verge, taken, is_dark)
        if rng.random() < town.fenced:
            small += _fences(rng, town, verge, taken)
        if rng.random() < town.trees:
            small += _trees(rng, town, verge, taken)
    return [thing for thing in _without_overlap(houses) + small if _is_near(thing, reach)]


def _is_near(thing: Placed, reach: Floats) -> bool:
    return bool(np.hypot(*(reach - thing.pose[:2]).T).min() < _SIGHT_M)
