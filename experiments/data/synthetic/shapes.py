"""Shapes of annotated objects: cars, walkers, cones and barriers."""

from __future__ import annotations

import numpy as np

from experiments.data.frames import Floats
from experiments.data.synthetic.actors import Actor
from experiments.data.synthetic.mesh import Box, Lamp, Quad, Thing
from experiments.data.synthetic.towns import Rgb

_GLASS: Rgb = (44, 52, 64)
_TYRES: Rgb = (26, 26, 28)
_SHADOW: Rgb = (44, 44, 46)
_TAIL_OFF: Rgb = (110, 14, 14)
_TAIL_ON: Rgb = (255, 40, 30)
_HEADLIGHT: Rgb = (250, 246, 214)
_AMBER_OFF: Rgb = (120, 70, 20)
_AMBER_ON: Rgb = (255, 176, 20)
_DARK_GLOW = 0.75
"""How far lamps of cars shine by themselves in the dark."""
_SHADOW_CORNERS = np.array([[-1, -1, 0], [-1, 1, 0], [1, 1, 0], [1, -1, 0]]) * 0.5


def _patch(x: float, y: float, z: float, size: tuple[float, float]) -> Floats:
    """Return the corners of a face (width, height) at the front (x > 0) or back of a car."""
    way = 1.0 if x > 0 else -1.0
    half, top = size[0] / 2 * way, z + size[1]
    return np.array([[x, y + half, z], [x, y - half, z], [x, y - half, top], [x, y + half, top]])


def _lamps(actor: Actor, belt: float, is_dark: bool) -> tuple[Quad, ...]:
    """Return tail lights, headlights and indicators, larger than they are, lest they vanish."""
    length, width = actor.size[:2]
    end, z, glow = length / 2 + 0.02, belt * 0.55, _DARK_GLOW if is_dark else 0.0
    back, front = np.array([-1.0, 0.0, 0.0]), np.array([1.0, 0.0, 0.0])
    quads = []
    for side, lamp in ((1.0, Lamp.LEFT), (-1.0, Lamp.RIGHT)):
        y = side * 0.34 * width
        tail = _patch(-end, y, z, (width * 0.3, 0.26))
        quads.append(Quad(tail, back, _TAIL_OFF, _TAIL_ON, Lamp.BRAKING, glow))
        head = _patch(end, y, z, (width * 0.24, 0.2))
        quads.append(Quad(head, front, _HEADLIGHT, glow=1.0 if is_dark else 0.0))
        for x, normal in ((-end - 0.01, back), (end + 0.01, front)):
            corner = _patch(x, side * 0.44 * width, z - 0.1, (width * 0.16, 0.42))
            quads.append(Quad(corner, normal, _AMBER_OFF, _AMBER_ON, lamp))
    return tuple(quads)


def _car(actor: Actor, is_dark: bool) -> Thing:
    length, width, height = actor.size
    paint, is_van = actor.colour, height > 2.0
    belt = height * (0.55 if is_van else 0.5)
    glass = paint if is_van else _GLASS
    cabin_size = (length * (0.94 if is_van else 0.5), width * 0.9, height - belt)
    cabin = Box(-0.03 * length, 0.0, belt, cabin_size, (_GLASS, glass, glass, glass, paint))
    shadow = _SHADOW_CORNERS * [length + 0.3, width + 0.3, 0.0]
    return Thing(
        boxes=(
            Box(0.0, 0.0, 0.12, (length * 0.9, width * 0.96, 0.3), (_TYRES,)),
            Box(0.0, 0.0, 0.3, (length, width, belt - 0.3), (paint,)),
            cabin,
        ),
        under=(Quad(shadow, np.array([0.0, 0.0, 1.0]), _SHADOW),),
        over=_lamps(actor, belt, is_dark),
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


_SHAPES = {"pedestrian": _person, "traffic_cone": _cone, "barrier": _barrier}


def thing_of(actor: Actor, *, is_dark: bool = False) -> Thing:
    """Return the shape of an annotated object, with its lamps lit when it is dark."""
    return _car(actor, is_dark) if actor.kind == "vehicle" else _SHAPES[actor.kind](actor)
