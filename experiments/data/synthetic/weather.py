"""Weather and light: how far one sees, how bright the world is, and how carefully one drives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from experiments.data.frames import Floats
from experiments.data.synthetic.towns import Rgb


@dataclass(frozen=True, slots=True)
class Weather:
    """What the sky does to a drive."""

    name: str
    share: float
    """Share of drives."""
    light: tuple[float, float, float]
    """Factors on red, green and blue of all that does not shine by itself."""
    sun: float
    """Contrast between sides that face the sun and sides that do not."""
    haze_m: float
    """Distance at which two thirds of a colour is haze."""
    haze: Rgb
    zenith: Rgb
    care: float = 1.0
    """Factor on speeds."""
    is_dark: bool = False
    """Whether lamps and windows are lit, and headlights show the road."""
    streaks: int = 0
    """Streaks of rain per 10,000 pixels."""
    wet: float = 1.0
    """Factor on the brightness of the road."""

    def lit(self, x: Floats, y: Floats) -> Floats:
        """Return (..., 3) factors on colours at places in the ego frame [m], headlights included.

        Divisions and products only, which all machines round alike.
        """
        ambient = np.array(self.light)
        if not self.is_dark:
            return np.broadcast_to(ambient, (*np.shape(x), 3))
        ahead = np.maximum(np.asarray(x) - 2.0, 0.0)
        across = np.clip(1.3 - np.abs(y) / (2.5 + 0.3 * ahead), 0.0, 1.0)
        beam = across / (1.0 + (ahead / 26.0) ** 2) * (np.asarray(x) > 2.0)
        return np.asarray(ambient + (0.95 - ambient) * beam[..., None], np.float64)

    def clear_share(self, distance: Floats) -> Floats:
        """Return the share of its colour that reaches the camera over `distance` metres."""
        return 1.0 / (1.0 + 2.0 * (distance / self.haze_m) ** 2)


SUN = Weather("sun", 0.3, (1.0, 0.98, 0.94), 0.5, 130.0, (214, 218, 222), (92, 146, 212))
WEATHERS = (
    SUN,
    Weather("overcast", 0.2, (0.8, 0.82, 0.84), 0.14, 110.0, (188, 192, 198), (158, 164, 174)),
    Weather(
        "rain", 0.15, (0.62, 0.66, 0.72), 0.08, 62.0, (142, 148, 156), (116, 122, 132),
        care=0.88, streaks=16, wet=0.72,
    ),
    Weather("fog", 0.11, (0.8, 0.81, 0.82), 0.04, 30.0, (188, 190, 192), (176, 178, 182), care=0.8),
    Weather("dusk", 0.12, (0.78, 0.66, 0.62), 0.4, 120.0, (206, 140, 96), (84, 82, 128)),
    Weather(
        "night", 0.12, (0.17, 0.18, 0.26), 0.1, 150.0, (12, 14, 26), (6, 8, 18),
        care=0.92, is_dark=True,
    ),
)  # fmt: skip


def weather_at(share: float) -> Weather:
    """Return the weather at a place in [0, 1) where each has as much room as it is frequent."""
    for weather in WEATHERS:
        share -= weather.share
        if share < 0:
            return weather
    return WEATHERS[0]


def rain(rng: np.random.Generator, weather: Weather, hw: tuple[int, int]) -> NDArray[np.int64]:
    """Return (n, 4) streaks x, y, x, y [px] of one image."""
    height, width = hw
    count = weather.streaks * height * width // 10_000
    start = rng.integers(0, (width, height), (count, 2))
    length = rng.integers(height // 24, height // 9 + 1, count)
    return np.stack([start[:, 0], start[:, 1], start[:, 0] - length // 5, start[:, 1] + length], -1)
