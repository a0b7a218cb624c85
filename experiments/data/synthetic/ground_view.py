"""How a camera sees flat ground: where each pixel meets it, and the colour it has there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from experiments.data.frames import Floats
from experiments.data.synthetic.cameras import Camera
from experiments.data.synthetic.texture import NUM_LEVELS, TEXEL_M, Ground
from experiments.data.synthetic.weather import Weather

_HORIZON_M = 400.0
"""Pixels that meet the ground further away show the sky."""
Shares = NDArray[np.uint16]
"""Shares of a colour in 256ths."""
WHOLE, BITS = np.uint16(256), np.uint16(8)


@dataclass(frozen=True, slots=True)
class View:
    """What is constant for a camera: where its pixels meet the ground."""

    rows: int
    """First row that sees ground nearer than the haze."""
    x: Floats
    y: Floats
    texels: Floats
    """256ths of a texel per metre, of the level that suits the pixel's footprint."""
    start: NDArray[np.int64]
    """Where that level begins in the ground's words."""
    size: NDArray[np.int64]
    """(2, pixels) rows and columns of that level."""
    clear: Shares
    """(pixels, 1) share of the picture that is not haze, in 256ths."""
    gain: Shares
    """(pixels, 4) factors on the ground's red, green and blue, in 256ths: light, then haze."""
    up: Floats
    """(rows, 1) share of the sky's colour in rows above the ground."""


def turn(yaw: float) -> tuple[float, float]:
    """Cosine and sine, rounded so that machines agree."""
    return round(float(np.cos(yaw)), 9), round(float(np.sin(yaw)), 9)


def view_ground(camera: Camera, ground: Ground, weather: Weather) -> View:
    """Find where each pixel of `camera` meets the ground, and how coarse a texel it needs."""
    height, width = camera.hw
    r, t, k = camera.rotation, camera.translation, camera.intrinsic
    u = (np.arange(width) + 0.5 - k[0, 2]) / k[0, 0]
    v = (np.arange(height) + 0.5 - k[1, 2]) / k[1, 1]
    rays = [r[n, 0] * u[None] + r[n, 1] * v[:, None] + r[n, 2] for n in range(3)]
    # Cameras do not roll: a row of pixels has one slope.
    rows = int(np.sum(rays[2][:, 0] > -t[2] / _HORIZON_M))
    down = [ray[rows:] for ray in rays]
    depth = -t[2] / down[2]
    x, y = t[0] + depth * down[0], t[1] + depth * down[1]
    distance = np.hypot(depth * down[0], depth * down[1])
    # A pixel covers distance / f across and distance^2 / (h f) along: take the geometric mean.
    footprint = distance / k[0, 0] * np.sqrt(distance / t[2])
    level = np.floor(np.log2(np.maximum(footprint / TEXEL_M, 1.0)) + 1e-6)
    level = np.minimum(level, NUM_LEVELS - 1).astype(np.int64).ravel()
    clear = weather.clear_share(distance)
    gain = np.ones((clear.size, 4))
    gain[:, :3] = (weather.lit(x, y) * clear[..., None]).reshape(-1, 3)
    up = np.clip((np.arange(rows) + 1.0)[::-1] / height * 2.0, 0.0, 1.0)
    return View(
        rows=rows,
        x=np.round(x, 6).ravel(),
        y=np.round(y, 6).ravel(),
        texels=256.0 / (TEXEL_M * 2.0**level),
        start=np.array(ground.starts)[level],
        size=np.array(ground.sizes)[level].T.copy(),
        clear=np.round(256 * clear).astype(np.uint16).reshape(-1, 1),
        gain=np.round(256 * np.minimum(gain, 1.0)).astype(np.uint16),
        up=up[:, None],
    )


def sample(ground: Ground, view: View, ego: Floats) -> Shares:
    """Return the (pixels, 4) colours of the ground, interpolated between four texels."""
    cos, sin = turn(float(ego[2]))
    east = ego[0] - ground.origin[0] + cos * view.x - sin * view.y
    north = ego[1] - ground.origin[1] + sin * view.x + cos * view.y
    stride, most = view.size[1], (view.size - 2) << 8
    # In 256ths of a texel, from the middle of one to the middle of the next.
    column = np.clip((east * view.texels - 128.0).astype(np.int64), 0, most[1])
    row = np.clip((north * view.texels - 128.0).astype(np.int64), 0, most[0])
    first = view.start + (row >> 8) * stride + (column >> 8)
    right = (column & 255).astype(np.uint16)[:, None]
    up = (row & 255).astype(np.uint16)[:, None]
    low = _blend(ground, first, right)
    high = _blend(ground, first + stride, right)
    mixed: Shares = (low * (WHOLE - up) + high * up) >> BITS
    return mixed


def _blend(ground: Ground, first: NDArray[np.int64], share: Shares) -> Shares:
    """Mix texels with their right neighbours, of which `share` is given in 256ths."""
    here = ground.words[first].view(np.uint8).reshape(-1, 4).astype(np.uint16)
    there = ground.words[first + 1].view(np.uint8).reshape(-1, 4).astype(np.uint16)
    mixed: Shares = (here * (WHOLE - share) + there * share) >> BITS
    return mixed
