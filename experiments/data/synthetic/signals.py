"""Heads of traffic lights, as they stand beside the road and hang over it."""

from __future__ import annotations

import numpy as np

from experiments.data.synthetic.layout import Layout
from experiments.data.synthetic.lights import Light, LightColour
from experiments.data.synthetic.mesh import Box, Thing
from experiments.data.synthetic.placed import Placed
from experiments.data.synthetic.towns import Rgb

COLOURS: tuple[LightColour, ...] = ("red", "yellow", "green")
_LAMPS: dict[LightColour, Rgb] = {
    "red": (255, 36, 24),
    "yellow": (255, 200, 20),
    "green": (30, 250, 130),
}
_POLE: Rgb = (70, 72, 76)
_PLAIN: Rgb = (24, 24, 26)


def _head(y: float, bottom: float, scale: float, colour: LightColour) -> tuple[Box, ...]:
    """Return a head with three lamps, one lit; it looks back along the road.

    Heads are twice as large as real ones: a picture of 48 rows would not show them else.
    """
    case = Box(0.0, y, bottom, (0.4, 1.1 * scale, 2.7 * scale), (_PLAIN,))
    place = bottom + scale * (1.83 - 0.85 * COLOURS.index(colour))
    size = (0.44, 0.84 * scale, 0.78 * scale)
    return case, Box(-0.02, y, place, size, (_PLAIN, _LAMPS[colour], _PLAIN, _PLAIN, _PLAIN),
                     glow=1.0)  # fmt: skip


def _beside(colour: LightColour) -> Thing:
    return Thing((Box(0.0, 0.0, 0.0, (0.2, 0.2, 2.1), (_POLE,)), *_head(0.0, 2.1, 0.75, colour)))


def _above(colour: LightColour) -> Thing:
    return Thing(
        (
            Box(0.0, 0.0, 0.0, (0.25, 0.25, 6.2), (_POLE,)),
            Box(0.0, 2.2, 6.2, (0.2, 4.6, 0.2), (_POLE,)),
            *_head(3.6, 4.1, 0.9, colour),
        )
    )


def heads(layout: Layout, light: Light, colour: LightColour) -> list[Placed]:
    """Return what faces the ego: beside the line, and beyond the junction or crossing.

    Over the road where the town has gantries, else beside it.
    """
    line = layout.ego.at(light.s)
    beyond = 2 * layout.crossing.radius if layout.crossing is not None else 12.0
    side = np.array([np.sin(line[2]), -np.cos(line[2])])
    ahead = np.array([np.cos(line[2]), np.sin(line[2])])
    kerb = _kerb_m(layout, light)
    far = line[:2] + side * kerb + ahead * beyond
    return [
        Placed(_beside(colour), np.array([*(line[:2] + side * kerb), line[2]])),
        Placed((_above if layout.town.gantry else _beside)(colour), np.array([*far, line[2]])),
    ]


def _kerb_m(layout: Layout, light: Light) -> float:
    """Return how far right of the ego path a pole stands: on the pavement."""
    for zebra in layout.zebras:
        if zebra.area_id == light.area_id:
            return zebra.to_ego - 0.3
    return layout.town.lane_m / 2 + 1.4
