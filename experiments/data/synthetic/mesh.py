"""Solid objects as coloured quadrilaterals, for the cameras, and as boxes, for the LiDAR.

A mesh keeps every object in its own body frame; each frame of a log only says where it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from experiments.data.frames import Floats
from experiments.data.synthetic.towns import Rgb

Ints = NDArray[np.int64]

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
    glow: float = 0.0
    """Share of its brightness that does not depend on the light of the day."""


class Lamp(IntEnum):
    """What switches a face to its `lit` colour."""

    NEVER = 0
    BRAKING = 1
    LEFT = 2
    RIGHT = 3


@dataclass(frozen=True, slots=True)
class Quad:
    """An extra face (4, 3) in the body frame, such as a lamp."""

    vertices: Floats
    normal: Floats
    colour: Rgb
    lit: Rgb | None = None
    """Its colour while it is on; see `lamp`."""
    lamp: Lamp = Lamp.NEVER
    glow: float = 0.0
    """As in `Box`, while it is off."""


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
    """(Q, 3) colours while the lamp is on."""
    lamp: Ints
    """(Q,) the `Lamp` that each face is."""
    glow: Floats
    """(Q,) share of the brightness that does not depend on the light of the day."""
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
    return [Quad(corners, normal, colour, glow=box.glow) for corners, normal, colour in faces]


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
        lamp=np.array([int(quad.lamp) for quad in quads]),
        glow=np.array([quad.glow for quad in quads]),
        owner=owners,
        boxes=np.array(boxes),
        box_owner=np.array(box_owner),
        radius=radius,
    )
