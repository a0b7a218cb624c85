"""Solid objects as coloured quadrilaterals, for the cameras, and as boxes, for the LiDAR.

A mesh keeps every object in its own body frame; each frame of a log only says where it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from experiments.data.frames import Floats
from experiments.data.synthetic.actors import Actor, Rgb

Ints = NDArray[np.int64]

GLASS: Rgb = (44, 52, 64)
_TYRES: Rgb = (26, 26, 28)
_SHADOW: Rgb = (44, 44, 46)
_TAIL_OFF: Rgb = (110, 14, 14)
_TAIL_ON: Rgb = (255, 60, 40)
_HEADLIGHT: Rgb = (250, 246, 214)
_SHADOW_CORNERS = np.array([[-1, -1, 0], [-1, 1, 0], [1, 1, 0], [1, -1, 0]]) * 0.5
_FACES = np.array(
    [
        [[1, 1, 0], [1, -1, 0], [1, -1, 1], [1, 1, 1]],
        [[-1, -1, 0], [-1, 1, 0], [-1, 1, 1], [-1, -1, 1]],
        [[-1, 1, 0], [1, 1, 0], [1, 1, 1], [-1, 1, 1]],
        [[1, -1, 0], [-1, -1, 0], [-1, -1, 1], [1, -1, 1]],
        [[-1, -1, 1], [-1, 1, 1], [1, 1, 1], [1, -1, 1]],
    ],
    dtype=np.float64,
) * [0.5, 0.5, 1.0]
"""Front, back, left, right and top of a box of size 1 that stands on the ground."""
_NORMALS = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1]], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Box:
    """An upright box in its object's body frame: centre x, y, bottom z, size, heading [m, rad]."""

    x: float
    y: float
    z: float
    size: tuple[float, float, float]
    colours: tuple[Rgb, ...]
    """One colour for all faces, or one each for front, back, left, right, top."""
    heading: float = 0.0


@dataclass(frozen=True, slots=True)
class Quad:
    """An extra face (4, 3) in the body frame, such as a lamp; `lit` when the car brakes."""

    vertices: Floats
    normal: Floats
    colour: Rgb
    lit: Rgb | None = None


@dataclass(frozen=True, slots=True)
class Thing:
    """One object: parts are painted in the order given."""

    boxes: tuple[Box, ...]
    under: tuple[Quad, ...] = ()
    over: tuple[Quad, ...] = ()


@dataclass(frozen=True, slots=True)
class Mesh:
    """All faces and boxes of a list of things; rows of one thing are contiguous."""

    vertices: Floats
    """(Q, 4, 3) in the body frame."""
    normals: Floats
    """(Q, 3)."""
    colours: Floats
    """(Q, 3) in 0..255."""
    lit: Floats
    """(Q, 3) colours while braking."""
    owner: Ints
    """(Q,) thing of each face."""
    boxes: Floats
    """(B, 7) x, y, z, length, width, height, heading in the body frame."""
    box_owner: Ints
    """(B,) thing of each box."""
    radius: Floats
    """(things,) radius of a sphere about the body's origin that holds the thing."""


def _box_quads(box: Box) -> list[Quad]:
    cos, sin = np.cos(box.heading), np.sin(box.heading)
    rotation = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    vertices = (_FACES * box.size) @ rotation.T + [box.x, box.y, box.z]
    colours = box.colours if len(box.colours) == 5 else box.colours * 5
    faces = zip(vertices, _NORMALS @ rotation.T, colours, strict=True)
    return [Quad(corners, normal, colour) for corners, normal, colour in faces]


def build_mesh(things: list[Thing]) -> Mesh:
    """Return the mesh of `things`, owners numbered in their order."""
    quads: list[Quad] = []
    owner: list[int] = []
    boxes, box_owner = [], []
    for number, thing in enumerate(things):
        faces = [quad for box in thing.boxes for quad in _box_quads(box)]
        faces = [*thing.under, *faces, *thing.over]
        quads += faces
        owner += [number] * len(faces)
        boxes += [(b.x, b.y, b.z, *b.size, b.heading) for b in thing.boxes]
        box_owner += [number] * len(thing.boxes)
    vertices = np.round(np.array([quad.vertices for quad in quads]), 9)
    owners = np.array(owner)
    radius = np.zeros(len(things))
    np.maximum.at(radius, owners, np.sqrt((vertices**2).sum(-1).max(-1)))
    return Mesh(
        vertices=vertices,
        normals=np.round(np.array([quad.normal for quad in quads]), 9),
        colours=np.array([quad.colour for quad in quads], dtype=np.float64),
        lit=np.array([quad.lit or quad.colour for quad in quads], dtype=np.float64),
        owner=owners,
        boxes=np.array(boxes),
        box_owner=np.array(box_owner),
        radius=radius,
    )


def _lamp(x: float, y: float, z: float, size: tuple[float, float], *colours: Rgb) -> Quad:
    """Return a lamp (width, height) at the front (x > 0) or back of a car; see `Quad.lit`."""
    way = 1.0 if x > 0 else -1.0
    half, top = size[0] / 2 * way, z + size[1]
    vertices = np.array(
        [[x, y + half, z], [x, y - half, z], [x, y - half, top], [x, y + half, top]]
    )
    return Quad(vertices, np.array([way, 0.0, 0.0]), *colours)


def _car(actor: Actor) -> Thing:
    length, width, height = actor.size
    paint, is_van = actor.colour, height > 2.0
    belt = height * (0.55 if is_van else 0.5)
    glass = paint if is_van else GLASS
    cabin_size = (length * (0.94 if is_van else 0.5), width * 0.9, height - belt)
    cabin = Box(-0.03 * length, 0.0, belt, cabin_size, (GLASS, glass, glass, glass, paint))
    shadow = _SHADOW_CORNERS * [length + 0.3, width + 0.3, 0.0]
    end, z = length / 2 + 0.02, belt * 0.6
    lamps = [
        lamp
        for y in (0.36 * width, -0.36 * width)
        for lamp in (
            _lamp(-end, y, z, (width * 0.24, 0.2), _TAIL_OFF, _TAIL_ON),
            _lamp(end, y, z, (width * 0.2, 0.16), _HEADLIGHT),
        )
    ]
    return Thing(
        boxes=(
            Box(0.0, 0.0, 0.12, (length * 0.9, width * 0.96, 0.3), (_TYRES,)),
            Box(0.0, 0.0, 0.3, (length, width, belt - 0.3), (paint,)),
            cabin,
        ),
        under=(Quad(shadow, np.array([0.0, 0.0, 1.0]), _SHADOW),),
        over=tuple(lamps),
    )


def _person(actor: Actor) -> Thing:
    height = actor.size[2]
    return Thing(
        boxes=(
            Box(0.0, 0.0, 0.0, (0.3, 0.34, height * 0.48), ((44, 46, 66),)),
            Box(0.0, 0.0, height * 0.48, (0.34, 0.52, height * 0.36), (actor.colour,)),
            Box(0.0, 0.0, height * 0.84, (0.24, 0.24, height * 0.16), ((214, 170, 140),)),
        )
    )


def _cone(actor: Actor) -> Thing:
    white: Rgb = (240, 240, 240)
    return Thing(
        boxes=(
            Box(0.0, 0.0, 0.0, (0.42, 0.42, 0.1), (actor.colour,)),
            Box(0.0, 0.0, 0.1, (0.26, 0.26, 0.3), (actor.colour,)),
            Box(0.0, 0.0, 0.4, (0.2, 0.2, 0.15), (white,)),
            Box(0.0, 0.0, 0.55, (0.12, 0.12, 0.25), (actor.colour,)),
        )
    )


def _barrier(actor: Actor) -> Thing:
    length, width, height = actor.size
    white: Rgb = (238, 238, 238)
    rails = [
        Box(0.0, y, z, (length * 0.4, width / 6, height * 0.3), (actor.colour if n % 2 else white,))
        for z in (0.3 * height, 0.7 * height)
        for n, y in enumerate((np.arange(6) - 2.5) * width / 6)
    ]
    feet = [Box(0.0, y, 0.0, (length, 0.15, 0.3 * height), ((90, 90, 94),)) for y in (-1.0, 1.0)]
    return Thing(boxes=(*feet, *rails))


_SHAPES = {"vehicle": _car, "pedestrian": _person, "traffic_cone": _cone, "barrier": _barrier}


def thing_of(actor: Actor) -> Thing:
    """Return the shape of an annotated object."""
    return _SHAPES[actor.kind](actor)
