"""One log's world: its road and its story, both drawn from the seed and the log's number."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator, SeedSequence

from experiments.data.synthetic.corridor import corridor
from experiments.data.synthetic.junction import junction
from experiments.data.synthetic.layout import Layout
from experiments.data.synthetic.motion import STEPS_PER_FRAME
from experiments.data.synthetic.story import Story, write_story
from experiments.settings import SyntheticConfig

_GOLDEN = 0.6180339887498949
"""Multiples of the golden ratio, modulo 1, fill the unit interval evenly for any count."""
_MIX = (("straight", 0.18), ("curve", 0.40), ("left", 0.16), ("ahead", 0.10), ("right", 0.16))


@dataclass(frozen=True, slots=True)
class World:
    """Road and story of log `number`."""

    number: int
    layout: Layout
    story: Story


def rng_for(config: SyntheticConfig, number: int, purpose: int) -> Generator:
    """Return the stream of log `number` for one purpose; streams are independent."""
    return Generator(np.random.PCG64(SeedSequence([config.seed, number, purpose])))


def token_for(config: SyntheticConfig, *parts: object) -> str:
    """Return 16 hex digits that identify `parts` in this world."""
    text = "/".join(str(part) for part in (config.seed, *parts))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _theme(config: SyntheticConfig, number: int) -> str:
    share = (number * _GOLDEN + 0.5 + config.seed * 0.1234) % 1.0
    for theme, weight in _MIX:
        share -= weight
        if share < 0:
            return theme
    return _MIX[-1][0]


def build_world(config: SyntheticConfig, number: int) -> World:
    """Return the world of log `number`."""
    theme, rng = _theme(config, number), rng_for(config, number, 0)
    layout: Layout
    if theme in ("straight", "curve"):
        layout = corridor(rng, "straight" if theme == "straight" else "curve")
    elif theme == "left":
        layout = junction(rng, "left")
    else:
        layout = junction(rng, "right" if theme == "right" else "straight")
    num_steps = (config.frames_per_log - 1) * STEPS_PER_FRAME + 1
    return World(number, layout, write_story(rng, layout, num_steps))
