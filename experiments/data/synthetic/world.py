"""One log's world: its road and its story, both drawn from the seed and the log's number."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.random import Generator, SeedSequence

from experiments.data.frames import Floats
from experiments.data.synthetic.corridor import corridor
from experiments.data.synthetic.corridor_traffic import LIT, MERGES
from experiments.data.synthetic.junction import junction
from experiments.data.synthetic.layout import EGO_START_M, Command, Kind, Layout
from experiments.data.synthetic.motion import STEP_S, STEPS_PER_FRAME
from experiments.data.synthetic.story import FASTEST, Story, write_story
from experiments.data.synthetic.towns import TOWNS, Town
from experiments.data.synthetic.weather import Weather, weather_at
from experiments.data.vehicle import FRONT_M, footprints
from experiments.settings import SyntheticConfig

_THEME_STEP, _PLOT_STEP = 0.6180339887498949, 0.4142135623730950
_WEATHER_STEP = 0.7320508075688772
"""Golden ratio, roots of two and three: their multiples, modulo 1, fill [0, 1) evenly."""
_MIX = (("straight", 0.16), ("curve", 0.42), ("left", 0.15), ("ahead", 0.12), ("right", 0.15))
_COMMANDS: dict[str, Command] = {"left": "left", "ahead": "straight", "right": "right"}
_ROADS = 50
"""Roads that are tried for one log."""
_WORLD, _START = 0, 99
"""Purposes of random streams."""


@dataclass(frozen=True, slots=True)
class World:
    """Weather, road and story of log `number`."""

    number: int
    weather: Weather
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
    """Return the position of `number` in a sequence that fills [0, 1) evenly."""
    start = int(rng_for(config, 0, _START).integers(1 << 20)) / (1 << 20)
    return (start + number * step) % 1.0


def _theme(share: float) -> str:
    for theme, weight in _MIX:
        share -= weight
        if share < 0:
            return theme
    return _MIX[-1][0]


def drive_of(config: SyntheticConfig, number: int) -> int:
    """Return the drive that log `number` is a chunk of: one town, one weather."""
    return number // config.logs_per_drive


def _town(config: SyntheticConfig, drive: int) -> Town:
    first = int(rng_for(config, 0, _START).integers(len(TOWNS)))
    return TOWNS[(first + drive) % len(TOWNS)]


def _layout(rng: Generator, town: Town, theme: str, reach_m: float, plot: float) -> Layout:
    if theme in _COMMANDS:
        return junction(rng, town, _COMMANDS[theme], reach_m)
    lit, merges = (low <= plot < high for low, high in (LIT, MERGES))
    kind: Kind = "curve" if theme == "curve" else "straight"
    return corridor(rng, town, kind, reach_m, lit=lit, merges=merges)


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
    drive = drive_of(config, number)
    town, weather = _town(config, drive), weather_at(_spread(config, drive, _WEATHER_STEP))
    num_steps = (config.frames_per_log - 1) * STEPS_PER_FRAME + 1
    for _ in range(_ROADS):
        layout = _layout(rng, town, theme, FASTEST * num_steps * STEP_S, plot)
        if not _is_passable(layout):
            continue
        story = write_story(rng, layout, weather, num_steps, plot)
        if story is not None:
            return World(number, weather, layout, story)
    raise RuntimeError(f"log {number}: no sound drive with `{theme}` on {_ROADS} roads")
