"""A small renderer: textured ground, haze, sky, and solid objects painted far to near.

It uses elementwise arithmetic only: matrix products may round differently from one processor
to the next, and the same seed has to give the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from experiments.data.frames import Floats
from experiments.data.synthetic.cameras import Camera
from experiments.data.synthetic.ground_view import (
    BITS,
    WHOLE,
    View,
    sample,
    turn,
    view_ground,
)
from experiments.data.synthetic.mesh import Lamp, Mesh
from experiments.data.synthetic.texture import Ground
from experiments.data.synthetic.weather import Weather, rain

_NEAR_M = 0.4
_FAR_M = 110.0
_SUN = (0.48, 0.36, 0.8)
"""Direction to the sun in the log's frame."""
_RAIN = (172, 178, 188)


@dataclass(frozen=True, slots=True)
class Body:
    """Poses of all things in one frame, in the ego frame, and which of their lamps are on."""

    poses: Floats
    """(things, 3)."""
    braking: NDArray[np.bool_]
    """(things,) brake lights are on."""
    blinks: Floats
    """(things,) 1.0 where left indicators are on, -1.0 where right ones are."""
    heading: float
    """Heading of the ego in the log's frame [rad]."""


class Renderer:
    """Renders the frames of one log."""

    def __init__(self, cameras: tuple[Camera, ...], ground: Ground, weather: Weather, mesh: Mesh):
        self._cameras = cameras
        self._ground, self._weather, self._mesh = ground, weather, mesh
        self._views = {camera.name: view_ground(camera, ground, weather) for camera in cameras}
        self._empty = {
            camera.name: _empty_image(camera, self._views[camera.name], weather)
            for camera in cameras
        }

    def render(self, rng: Generator, ego: Floats, body: Body) -> dict[str, Image.Image]:
        """Return one RGB image per camera for the ego at pose (3,) in the log's frame."""
        faces = _place(self._mesh, body, self._weather)
        images = {}
        for camera in self._cameras:
            image = Image.fromarray(self._background(camera, ego))
            draw = ImageDraw.Draw(image)
            _paint(draw, camera, faces, self._weather)
            for streak in rain(rng, self._weather, camera.hw).tolist():
                draw.line(streak, fill=_RAIN)
            images[camera.name] = image
        return images

    def _background(self, camera: Camera, ego: Floats) -> NDArray[np.uint8]:
        view, empty = self._views[camera.name], self._empty[camera.name]
        image = empty.copy()
        seen = sample(self._ground, view, ego) * view.gain >> BITS
        image[view.rows :] += seen[:, :3].reshape(-1, camera.hw[1], 3).astype(np.uint8)
        return image


def _empty_image(camera: Camera, view: View, weather: Weather) -> NDArray[np.uint8]:
    """Return sky above the horizon, and below it the haze that lies over the ground."""
    height, width = camera.hw
    haze = np.array(weather.haze, np.uint16)
    image = np.empty((height, width, 3), np.uint8)
    image[view.rows :] = (haze * (WHOLE - view.clear) >> BITS).reshape(-1, width, 3)
    image[: view.rows] = (np.array(weather.zenith) * view.up + haze * (1 - view.up))[:, None]
    return image


@dataclass(frozen=True, slots=True)
class _Faces:
    """Faces of all things in the ego frame."""

    vertices: Floats
    normals: Floats
    colours: Floats
    glow: Floats
    owner: NDArray[np.int64]
    centres: Floats
    """(things, 2)."""
    radius: Floats


def _place(mesh: Mesh, body: Body, weather: Weather) -> _Faces:
    """Move all faces to the ego frame and shade them."""
    near = np.hypot(body.poses[:, 0], body.poses[:, 1]) < _FAR_M
    keep = near[mesh.owner]
    owner = mesh.owner[keep]
    cos = np.round(np.cos(body.poses[:, 2]), 9)[owner]
    sin = np.round(np.sin(body.poses[:, 2]), 9)[owner]
    local, normal = mesh.vertices[keep], mesh.normals[keep]
    x = cos[:, None] * local[..., 0] - sin[:, None] * local[..., 1] + body.poses[owner, 0, None]
    y = sin[:, None] * local[..., 0] + cos[:, None] * local[..., 1] + body.poses[owner, 1, None]
    nx, ny = cos * normal[:, 0] - sin * normal[:, 1], sin * normal[:, 0] + cos * normal[:, 1]
    normals = np.stack([nx, ny, normal[:, 2]], axis=-1)
    return _Faces(
        vertices=np.stack([x, y, local[..., 2]], axis=-1),
        normals=normals,
        colours=_shaded(mesh, keep, normals, body, weather),
        glow=mesh.glow[keep],
        owner=owner,
        centres=body.poses[:, :2],
        radius=mesh.radius,
    )


def _shaded(
    mesh: Mesh, keep: NDArray[np.bool_], normals: Floats, body: Body, weather: Weather
) -> Floats:
    """Return the (Q, 3) colours in the light of the day; lamps that are on shine by themselves."""
    owner, lamp = mesh.owner[keep], mesh.lamp[keep]
    cos, sin = turn(body.heading)
    east, north, up = _SUN
    sun_x, sun_y = cos * east + sin * north, cos * north - sin * east
    toward = normals[:, 0] * sun_x + normals[:, 1] * sun_y + normals[:, 2] * up
    shade = 1.05 - weather.sun * (1.0 - np.maximum(0.0, toward))
    is_on = (
        ((lamp == Lamp.BRAKING) & body.braking[owner])
        | ((lamp == Lamp.LEFT) & (body.blinks[owner] > 0))
        | ((lamp == Lamp.RIGHT) & (body.blinks[owner] < 0))
    )
    glow = np.where(is_on, 1.0, mesh.glow[keep])[:, None]
    light = weather.lit(body.poses[:, 0], body.poses[:, 1])[owner] * shade[:, None]
    plain = np.where(is_on[:, None], mesh.lit[keep], mesh.colours[keep])
    return np.asarray(np.minimum(plain * (light + glow * (1.0 - light)), 255.0), np.float64)


def _visible(camera: Camera, faces: _Faces) -> NDArray[np.int64]:
    """Return the faces to paint, far to near: in view, and turned to the camera."""
    r, t = camera.rotation, camera.translation
    dx, dy = faces.centres[:, 0] - t[0], faces.centres[:, 1] - t[1]
    ahead = r[0, 2] * dx + r[1, 2] * dy
    aside = np.abs(r[0, 0] * dx + r[1, 0] * dy)
    wide = camera.hw[1] / 2 / camera.intrinsic[0, 0]
    seen = (ahead > -faces.radius) & (aside < wide * np.maximum(ahead, 0) + 1.8 * faces.radius)
    chosen = np.flatnonzero(seen[faces.owner])
    to_eye = t - faces.vertices[chosen, 0]
    normals = faces.normals[chosen]
    facing = to_eye[:, 0] * normals[:, 0] + to_eye[:, 1] * normals[:, 1]
    chosen = chosen[facing + to_eye[:, 2] * normals[:, 2] > 0]
    distance = np.hypot(dx, dy)[faces.owner[chosen]]
    # Stable, so that the parts of a thing keep their order.
    ordered: NDArray[np.int64] = chosen[np.argsort(-distance, kind="stable")]
    return ordered


def _paint(draw: ImageDraw.ImageDraw, camera: Camera, faces: _Faces, weather: Weather) -> None:
    chosen = _visible(camera, faces)
    r, t, k = camera.rotation, camera.translation, camera.intrinsic
    offset = faces.vertices[chosen] - t
    right, down, depth = (
        offset[..., 0] * r[0, n] + offset[..., 1] * r[1, n] + offset[..., 2] * r[2, n]
        for n in range(3)
    )
    clear = weather.clear_share(np.maximum(depth.mean(1), 0.0))[:, None]
    # Lamps are seen through haze that hides what they stand on.
    clear = clear + (1 - clear) * 0.5 * faces.glow[chosen, None]
    colours = faces.colours[chosen] * clear + np.array(weather.haze) * (1 - clear)
    points = np.stack([right, down, depth], axis=-1)
    whole = np.all(depth > _NEAR_M, axis=1)
    safe = np.maximum(depth, _NEAR_M)
    pixels = np.stack([k[0, 0] * right / safe + k[0, 2], k[1, 1] * down / safe + k[1, 2]], axis=-1)
    flat, fills = pixels.reshape(-1, 8).tolist(), colours.astype(np.int64).tolist()
    height, width = camera.hw
    low, high = pixels.min(1), pixels.max(1)
    inside = np.all((high > 0) & (low < np.array([width, height])), axis=1)
    some = np.any(depth > _NEAR_M, axis=1)
    for n in np.flatnonzero(np.where(whole, inside, some)).tolist():
        outline = flat[n] if whole[n] else _clipped(points[n], camera)
        draw.polygon(outline, fill=tuple(fills[n]))


def _clipped(points: Floats, camera: Camera) -> list[float]:
    """Project a face after cutting off what is behind the near plane."""
    outline: list[float] = []
    k = camera.intrinsic
    for here, there in zip(points, np.roll(points, -1, axis=0), strict=True):
        kept = [here] if here[2] > _NEAR_M else []
        if (here[2] > _NEAR_M) != (there[2] > _NEAR_M):
            share = (_NEAR_M - here[2]) / (there[2] - here[2])
            kept.append(here + share * (there - here))
        for x, y, z in kept:
            outline += [k[0, 0] * x / z + k[0, 2], k[1, 1] * y / z + k[1, 2]]
    return outline
