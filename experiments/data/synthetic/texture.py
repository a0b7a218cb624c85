"""The ground seen from above: road, paint and grass as a packed image with coarser copies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw

from experiments.data.frames import Floats
from experiments.data.synthetic.layout import PAVEMENT_M, Layout, Marking
from experiments.data.synthetic.towns import Rgb, Town
from experiments.data.synthetic.weather import Weather

TEXEL_M = 0.2
"""Edge of a texel of the finest level; each next level has texels twice as long."""
NUM_LEVELS = 4
_MARGIN_M = 75.0


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours of the ground of one log."""

    grass: Rgb
    asphalt: Rgb
    pavement: Rgb
    white: Rgb = (232, 232, 228)
    yellow: Rgb = (228, 180, 48)
    kerb: Rgb = (196, 194, 188)


@dataclass(frozen=True, slots=True)
class Ground:
    """All levels of the texture in one flat array of RGBX words."""

    words: NDArray[np.uint32]
    origin: tuple[float, float]
    """x, y of the first texel's corner in the log's frame [m]."""
    starts: tuple[int, ...]
    """Where each level begins in `words`."""
    sizes: tuple[tuple[int, int], ...]
    """Rows (y) and columns (x) of each level."""


def draw_palette(rng: Generator, town: Town, weather: Weather) -> Palette:
    """Draw the colours of a log, between the two that its town has for each."""

    def tint(ends: tuple[Rgb, Rgb], brightness: float = 1.0) -> Rgb:
        mix = rng.random()
        r, g, b = (int(brightness * (a + (c - a) * mix)) for a, c in zip(*ends, strict=True))
        return r, g, b

    return Palette(
        grass=tint(town.ground),
        asphalt=tint(town.asphalt, weather.wet),
        pavement=tint(town.pavement, (1.0 + weather.wet) / 2),
    )


def _dashes(line: Floats, on: float, off: float) -> list[Floats]:
    """Cut a polyline into strokes of `on` metres with gaps of `off`."""
    s = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    strokes = []
    for start in np.arange(0.0, s[-1] - on, on + off):
        at = np.array([start, start + on / 2, start + on])
        strokes.append(np.stack([np.interp(at, s, line[:, 0]), np.interp(at, s, line[:, 1])], -1))
    return strokes


class _Canvas:
    """Draws metres onto an image whose first row is the lowest y."""

    def __init__(self, low: Floats, high: Floats, colour: Rgb) -> None:
        step = 2 ** (NUM_LEVELS - 1)
        size = np.ceil((high - low) / (TEXEL_M * step)).astype(int) * step
        self.low = low
        self.image = Image.new("RGB", (int(size[0]), int(size[1])), colour)
        self.draw = ImageDraw.Draw(self.image)

    def _texels(self, points: Floats) -> list[tuple[float, float]]:
        # Rounded, so that machines whose cosines differ in the last bit draw the same.
        xy = np.round((points - self.low) / TEXEL_M, 4)
        return [(float(x), float(y)) for x, y in xy]

    def polygon(self, ring: Floats, colour: Rgb) -> None:
        self.draw.polygon(self._texels(ring), fill=colour)

    def line(self, marking: Marking, colour: Rgb) -> None:
        width = max(1, round(marking.width / TEXEL_M))
        whole = [marking.line]
        for stroke in whole if marking.dash is None else _dashes(marking.line, *marking.dash):
            self.draw.line(self._texels(stroke), fill=colour, width=width)


def _levels(image: Image.Image) -> tuple[list[NDArray[np.uint32]], list[tuple[int, int]]]:
    words, sizes = [], []
    for level in range(NUM_LEVELS):
        coarse = image if level == 0 else image.reduce(2**level)
        rgbx = np.asarray(coarse.convert("RGBX"))
        words.append(np.ascontiguousarray(rgbx).view("<u4").ravel())
        sizes.append(rgbx.shape[:2])
    return words, sizes


def _speckle(rng: Generator, image: Image.Image) -> Image.Image:
    """Darken texels at random a little, so that surfaces have grain."""
    tile = rng.integers(0, 18, (128, 128), dtype=np.uint8)
    rows, columns = image.size[1] // 128 + 1, image.size[0] // 128 + 1
    grain = Image.fromarray(np.tile(tile, (rows, columns))[: image.size[1], : image.size[0]])
    return ImageChops.subtract(image, Image.merge("RGB", (grain, grain, grain)))


def paint_ground(rng: Generator, layout: Layout, palette: Palette, reach: Floats) -> Ground:
    """Paint the surroundings of the points `reach` (n, 2)."""
    low, high = reach.min(0) - _MARGIN_M, reach.max(0) + _MARGIN_M
    canvas = _Canvas(np.floor(low), np.ceil(high), palette.grass)
    pavement = layout.drivable.buffer(PAVEMENT_M, quad_segs=4)
    canvas.polygon(np.array(pavement.exterior.coords), palette.pavement)
    edge = np.array(layout.drivable.exterior.coords)
    canvas.polygon(edge, palette.asphalt)
    canvas.line(Marking(edge, "kerb"), palette.kerb)
    for marking in layout.markings:
        canvas.line(marking, getattr(palette, marking.colour))
    words, sizes = _levels(_speckle(rng, canvas.image))
    starts = np.cumsum([0] + [len(part) for part in words[:-1]])
    return Ground(
        words=np.concatenate(words),
        origin=(float(canvas.low[0]), float(canvas.low[1])),
        starts=tuple(int(start) for start in starts),
        sizes=tuple(sizes),
    )
