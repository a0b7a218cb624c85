"""Cameras and LiDAR of the generated world show what its logs and maps say."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.data.frames import corners, to_local
from experiments.data.synthetic.actors import Actor
from experiments.data.synthetic.cameras import Camera, rig
from experiments.data.synthetic.ground_view import view_ground
from experiments.data.synthetic.layout import Layout
from experiments.data.synthetic.lidar import scan
from experiments.data.synthetic.mesh import Box, Thing, build_mesh, thing_of
from experiments.data.synthetic.render import Body, Renderer
from experiments.data.synthetic.texture import Ground, Palette, paint_ground
from experiments.data.synthetic.world import build_world
from experiments.settings import SyntheticConfig

PALETTE = Palette(
    grass=(0, 160, 0), asphalt=(60, 60, 60), pavement=(120, 120, 120), sky=(0, 0, 200),
    haze=(200, 200, 255),
)  # fmt: skip
PURE: tuple[tuple[int, int, int], ...] = ((255, 0, 255),)


def project(camera: Camera, points: np.ndarray) -> np.ndarray:
    """Project (n, 3) ego-frame points as a user of the log would, through sensor2lidar."""
    local = (points - camera.translation) @ camera.rotation
    pixels = local @ camera.intrinsic.T
    return pixels[:, :2] / pixels[:, 2:]


def road() -> tuple[Layout, Ground]:
    config = SyntheticConfig(seed=11)
    worlds = (build_world(config, number) for number in range(10))
    world = next(world for world in worlds if world.layout.kind == "curve")
    ground = paint_ground(np.random.default_rng(0), world.layout, PALETTE, world.reach())
    return world.layout, ground


def photograph(thing: Thing, pose: np.ndarray, name: str, hw: tuple[int, int]) -> np.ndarray:
    camera = rig(hw)[name]
    layout, ground = road()
    renderer = Renderer((camera,), ground, PALETTE, build_mesh([thing]))
    body = Body(pose[None], np.zeros(1, bool), 0.0)
    return np.asarray(renderer.render(layout.ego.at(40.0), body)[name]).astype(int)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("CAM_F0", (15.0, 0.0)),
        ("CAM_F0", (12.0, -4.0)),
        ("CAM_L0", (8.0, 9.0)),
        ("CAM_R0", (7.0, -10.0)),
    ],
)
def test_a_box_appears_where_the_calibration_puts_it(name: str, place: tuple[float, float]) -> None:
    hw = (180, 320)
    thing = Thing((Box(0.0, 0.0, 0.0, (1.0, 1.0, 1.5), PURE),))
    image = photograph(thing, np.array([*place, 0.3]), name, hw)
    rows, columns = np.nonzero((image[..., 0] > 90) & (image[..., 1] < 40) & (image[..., 2] > 90))
    flat = corners([*place, 1.0, 1.0, 0.3])
    points = np.array([[x, y, z] for x, y in flat for z in (0.0, 1.5)])
    expected = project(rig(hw)[name], points)
    seen = np.array([[columns.min(), rows.min()], [columns.max() + 1, rows.max() + 1]])
    np.testing.assert_allclose(seen[0], expected.min(0), atol=1.6)
    np.testing.assert_allclose(seen[1], expected.max(0), atol=1.6)


def test_paint_on_the_road_appears_where_the_map_has_it() -> None:
    """The yellow line lies on the border between the two directions of a corridor."""
    layout, ground = road()
    camera = rig((180, 320))["CAM_F0"]
    path = layout.ego
    s = path.s[np.argmax(np.abs(path.heading) * (path.s < 130.0))]
    ego = path.at(float(s))
    assert abs(ego[2]) > 0.5
    mesh = build_mesh([Thing((Box(0.0, 0.0, 0.0, (1.0, 1.0, 1.0), PURE),))])
    body = Body(np.array([[1e5, 0.0, 0.0]]), np.zeros(1, bool), float(ego[2]))
    image = np.asarray(Renderer((camera,), ground, PALETTE, mesh).render(ego, body)["CAM_F0"])
    own = next(area for area in layout.areas if area.id == "rb-own")
    border = own.ring[len(own.ring) // 2 :]
    local = to_local(np.c_[border, np.zeros(len(border))], ego)
    local = local[(local[:, 0] > 5.0) & (local[:, 0] < 16.0)]
    pixels = project(camera, np.c_[local[:, :2], np.zeros(len(local))])
    inside = (pixels[:, 0] > 2) & (pixels[:, 0] < 318) & (pixels[:, 1] < 178)
    assert inside.sum() >= 2
    for u, v in pixels[inside]:
        red, _, blue = image[int(v), int(u)].astype(int)
        assert red > blue + 20, (u, v, image[int(v), int(u)])


def test_the_ground_under_a_pixel_projects_back_to_its_middle() -> None:
    camera = rig((90, 160))["CAM_L0"]
    view = view_ground(camera, road()[1])
    pixels = project(camera, np.stack([view.x, view.y, np.zeros_like(view.x)], axis=-1))
    rows, columns = np.mgrid[view.rows : 90, 0:160]
    expected = np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5], axis=-1)
    np.testing.assert_allclose(pixels, expected, atol=1e-3)


def test_nearer_things_hide_farther_ones() -> None:
    near = Thing((Box(0.0, 0.0, 0.0, (1.0, 3.0, 3.0), ((255, 0, 0),)),))
    far = Thing((Box(0.0, 0.0, 0.0, (1.0, 2.0, 2.0), ((0, 0, 255),)),))
    camera = rig((90, 160))["CAM_F0"]
    layout, ground = road()
    renderer = Renderer((camera,), ground, PALETTE, build_mesh([near, far]))
    body = Body(np.array([[10.0, 0, 0], [20.0, 0, 0]]), np.zeros(2, bool), 0.0)
    image = np.asarray(renderer.render(layout.ego.at(40.0), body)["CAM_F0"]).astype(int)
    u, v = project(camera, np.array([[9.5, 0.0, 1.0]]))[0]
    assert image[int(v), int(u), 0] > 100 + image[int(v), int(u), 2]


def test_brake_lights_light_up() -> None:
    steps = np.zeros((1, 3))
    car = Actor("vehicle", (4.5, 1.8, 1.5), (40, 40, 40), steps, np.zeros(1), np.zeros(1))
    camera = rig((180, 320))["CAM_F0"]
    layout, ground = road()
    renderer = Renderer((camera,), ground, PALETTE, build_mesh([thing_of(car)]))
    reds = []
    for braking in (False, True):
        body = Body(np.array([[10.0, 0, 0]]), np.array([braking]), 0.0)
        image = np.asarray(renderer.render(layout.ego.at(40.0), body)["CAM_F0"]).astype(int)
        reds.append(int(((image[..., 0] > 190) & (image[..., 1] < 90)).sum()))
    assert reds[0] == 0
    assert reds[1] > 10


def test_a_thing_around_the_camera_is_clipped_not_smeared() -> None:
    thing = Thing((Box(0.0, 0.0, 0.0, (30.0, 0.2, 1.0), PURE),))
    image = photograph(thing, np.array([5.0, 1.5, 0.0]), "CAM_F0", (90, 160))
    assert not ((image[:, 80:, 0] > 200) & (image[:, 80:, 1] < 40)).any()
    assert ((image[60:, :60, 0] > 90) & (image[60:, :60, 1] < 40)).any()


def test_points_lie_on_the_ground_or_on_a_box() -> None:
    box = Box(0.0, 0.0, 0.0, (4.0, 2.0, 1.6), PURE)
    pose = np.array([[12.0, 3.0, 0.4]])
    points = scan(np.random.default_rng(0), build_mesh([Thing((box,))]), pose)
    above = points[points["z"] > 0.2]
    assert len(above) > 20
    local = to_local(np.c_[above["x"], above["y"], np.zeros(len(above))], pose[0])
    outside = np.maximum(np.abs(local[:, 0]) - 2.0, np.abs(local[:, 1]) - 1.0)
    assert np.abs(outside).max() < 0.05
    assert above["z"].max() < 1.65
    rest = points[points["z"] <= 0.2]
    behind = to_local(np.c_[rest["x"], rest["y"], np.zeros(len(rest))], pose[0])
    assert ((np.abs(behind[:, 0]) > 1.9) | (np.abs(behind[:, 1]) > 0.9)).all()


def test_a_wall_casts_a_shadow_on_the_ground() -> None:
    wall = Thing((Box(0.0, 0.0, 0.0, (0.3, 20.0, 4.0), PURE),))
    points = scan(np.random.default_rng(0), build_mesh([wall]), np.array([[10.0, 0.0, 0.0]]))
    ahead = (np.abs(points["y"]) < 0.5 * points["x"]) & (points["x"] > 11.0)
    assert not ahead.any()


def test_the_nearer_of_two_walls_is_seen() -> None:
    walls = [Thing((Box(0.0, 0.0, 0.0, (0.3, 20.0, 4.0), PURE),)) for _ in range(2)]
    poses = np.array([[15.0, 0.0, 0.0], [10.0, 0.0, 0.0]])
    points = scan(np.random.default_rng(0), build_mesh(walls), poses)
    ahead = points[(np.abs(points["y"]) < 0.5 * points["x"]) & (points["z"] > 0.2)]
    assert len(ahead) > 50
    assert ahead["x"].max() < 10.5
