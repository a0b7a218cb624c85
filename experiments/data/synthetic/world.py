"""One log's world: its road and its story, both drawn from the seed and the log's number."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.random import Generator, SeedSequence

from experiments.data.frames import Floats
from experiments.data.synthetic.corridor import corridor
from experiments.data.synthetic.junction import junction
from experiments.data.synthetic.layout import EGO_START_M, Command, Layout
from experiments.data.synthetic.motion import STEP_S, STEPS_PER_FRAME
from experiments.data.synthetic.story import FASTEST, Story, write_story
from experiments.data.vehicle import FRONT_M, footprints
from experiments.settings import SyntheticConfig

_THEME_STEP, _PLOT_STEP = 0.6180339887498949, 0.4142135623730950
"""Golden ratio and root of two: their multiples, modulo 1, fill [0, 1) evenly for any count."""
_MIX = (("straight", 0.15), ("curve", 0.45), ("left", 0.15), ("ahead", 0.10), ("right", 0.15))
_COMMANDS: dict[str, Command] = {"left": "left", "ahead": "straight", "right": "right"}
_ROADS = 50
"""Roads that are tried for one log."""
_WORLD, _START = 0, 99
"""Purposes of random streams."""


@dataclass(frozen=True, slots=True)
class World:
    """Road and story of log `number`."""

    number: int
    layout: Layout
    story: Story

    def reach(self) -> Floats:
        """Return the (n, 2) points along the drive, and some metres beyond, every 5 m."""
        s = self.story.ego.s
        return self.layout.ego.at(np.arange(s[0] - 20.0, s[-1] + 20.0, 5.0))[:, :2]


def rng_for(config: SyntheticConfig, number: int, purpose: int) -> Generator:
    """Return the stream of log `number` for one purpose; streams are independent."""
    return Generator(np.random.PCG64(SeedSequence([config.seed, number, purpose])))


def token_for(config: SyntheticConfig, *parts: object) -> str:
    """Return 16 hex digits that identify `parts` in this world."""
    text = "/".join(str(part) for part in (config.seed, *parts))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _spread(config: SyntheticConfig, number: int, step: float) -> float:
    """Return the position of log `number` in a sequence that fills [0, 1) evenly."""
    start = int(rng_for(config, 0, _START).integers(1 << 20)) / (1 << 20)
    return (start + number * step) % 1.0


def _theme(share: float) -> str:
    for theme, weight in _MIX:
        share -= weight
        if share < 0:
            return theme
    return _MIX[-1][0]


def _layout(rng: Generator, theme: str, reach_m: float) -> Layout:
    if theme in _COMMANDS:
        return junction(rng, _COMMANDS[theme], reach_m)
    return corridor(rng, "curve" if theme == "curve" else "straight", reach_m)


def _is_passable(layout: Layout) -> bool:
    """Whether the ego's footprint stays on the road all along its path."""
    s = np.arange(EGO_START_M, layout.ego.length - FRONT_M, 1.0)
    outlines = shapely.polygons(footprints(layout.ego.at(s)))
    return bool(np.all(shapely.covers(layout.drivable, outlines)))


def build_world(config: SyntheticConfig, number: int) -> World:
    """Return the world of log `number`; RuntimeError if no drive on its kind of road is sound."""
    rng = rng_for(config, number, _WORLD)
    theme = _theme(_spread(config, number, _THEME_STEP))
    plot = _spread(config, number, _PLOT_STEP)
    num_steps = (config.frames_per_log - 1) * STEPS_PER_FRAME + 1
    for _ in range(_ROADS):
        layout = _layout(rng, theme, FASTEST * num_steps * STEP_S)
        if not _is_passable(layout):
            continue
        story = write_story(rng, layout, num_steps, plot)
        if story is not None:
            return World(number, layout, story)
    raise RuntimeError(f"log {number}: no sound drive with `{theme}` on {_ROADS} roads")
