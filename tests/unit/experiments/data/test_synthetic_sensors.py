"""Cameras and LiDAR of the generated world show what its logs and maps say."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

from experiments.data.frames import corners, to_local
from experiments.data.images import stitch
from experiments.data.synthetic.actors import Actor
from experiments.data.synthetic.cameras import RENDERED, Camera, rig
from experiments.data.synthetic.corridor import corridor
from experiments.data.synthetic.generate import write_log
from experiments.data.synthetic.ground_view import view_ground
from experiments.data.synthetic.layout import Layout
from experiments.data.synthetic.lidar import scan
from experiments.data.synthetic.lights import LightColour
from experiments.data.synthetic.mesh import Box, Thing, build_mesh
from experiments.data.synthetic.render import Body, Renderer
from experiments.data.synthetic.shapes import thing_of
from experiments.data.synthetic.signals import heads
from experiments.data.synthetic.texture import Ground, Palette, paint_ground
from experiments.data.synthetic.towns import TOWNS
from experiments.data.synthetic.weather import SUN, WEATHERS, Weather
from experiments.data.synthetic.world import build_world
from experiments.settings import SyntheticConfig

PALETTE = Palette(grass=(90, 100, 84), asphalt=(60, 60, 60), pavement=(120, 120, 120))
PURE: tuple[tuple[int, int, int], ...] = ((255, 0, 255),)
CAR = Actor(
    "vehicle", (4.5, 1.8, 1.5), (40, 40, 40), np.zeros((1, 3)), np.zeros(1), np.zeros(1),
    np.zeros(1),
)  # fmt: skip
GRID = TOWNS[1]
AHEAD = np.array([[10.0, 0.0, 0.0]])


def project(camera: Camera, points: np.ndarray) -> np.ndarray:
    """Project (n, 3) ego-frame points as a user of the log would, through sensor2lidar."""
    local = (points - camera.translation) @ camera.rotation
    pixels = local @ camera.intrinsic.T
    return pixels[:, :2] / pixels[:, 2:]


def body(poses: np.ndarray, *, braking: bool = False, blinks: float = 0.0) -> Body:
    """Return things at `poses`, seen by an ego that heads east."""
    count = len(poses)
    return Body(poses, np.full(count, braking), np.full(count, blinks), 0.0)


def shoot(camera: Camera, things: list[Thing], where: Body, weather: Weather = SUN) -> np.ndarray:
    """Return what `camera` sees of things on a road."""
    layout, ground = road()
    renderer = Renderer((camera,), ground, weather, build_mesh(things))
    images = renderer.render(np.random.default_rng(0), layout.ego.at(40.0), where)
    return np.asarray(images[camera.name]).astype(int)


@cache
def road() -> tuple[Layout, Ground]:
    layout = corridor(np.random.default_rng(5), GRID, "curve", 150.0, lit=False, merges=False)
    reach = layout.ego.at(np.arange(20.0, 200.0, 5.0))[:, :2]
    return layout, paint_ground(np.random.default_rng(0), layout, PALETTE, reach)


def photograph(thing: Thing, pose: np.ndarray, name: str, hw: tuple[int, int]) -> np.ndarray:
    return shoot(rig(hw)[name], [thing], body(pose[None]))


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
    nobody = Body(np.array([[1e5, 0.0, 0.0]]), np.zeros(1, bool), np.zeros(1), float(ego[2]))
    renderer = Renderer((camera,), ground, SUN, mesh)
    image = np.asarray(renderer.render(np.random.default_rng(0), ego, nobody)["CAM_F0"])
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
    view = view_ground(camera, road()[1], SUN)
    pixels = project(camera, np.stack([view.x, view.y, np.zeros_like(view.x)], axis=-1))
    rows, columns = np.mgrid[view.rows : 90, 0:160]
    expected = np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5], axis=-1)
    np.testing.assert_allclose(pixels, expected, atol=1e-3)


def test_nearer_things_hide_farther_ones() -> None:
    near = Thing((Box(0.0, 0.0, 0.0, (1.0, 3.0, 3.0), ((255, 0, 0),)),))
    far = Thing((Box(0.0, 0.0, 0.0, (1.0, 2.0, 2.0), ((0, 0, 255),)),))
    camera = rig((90, 160))["CAM_F0"]
    image = shoot(camera, [near, far], body(np.array([[10.0, 0, 0], [20.0, 0, 0]])))
    u, v = project(camera, np.array([[9.5, 0.0, 1.0]]))[0]
    assert image[int(v), int(u), 0] > 100 + image[int(v), int(u), 2]


def test_brake_lights_light_up() -> None:
    camera = rig((180, 320))["CAM_F0"]
    reds = []
    for braking in (False, True):
        image = shoot(camera, [thing_of(CAR)], body(AHEAD, braking=braking))
        reds.append(int(((image[..., 0] > 190) & (image[..., 1] < 90)).sum()))
    assert reds[0] == 0
    assert reds[1] > 10


def test_the_indicators_of_one_side_blink() -> None:
    camera, middles = rig((180, 320))["CAM_F0"], []
    for blinks in (1.0, -1.0):
        image = shoot(camera, [thing_of(CAR)], body(AHEAD, blinks=blinks))
        _, columns = np.nonzero((image[..., 0] > 190) & (np.abs(image[..., 1] - 165) < 30)
                                & (image[..., 2] < 80))  # fmt: skip
        assert len(columns) > 5
        middles.append(columns.mean())
    assert middles[0] < 155
    assert middles[1] > 165


def test_weathers_differ_in_what_one_sees() -> None:
    """Night is dark, fog hides what is far, rain leaves streaks on a sky that has none."""
    camera = rig((90, 160))["CAM_F0"]
    wall = Thing((Box(0.0, 0.0, 0.0, (1.0, 30.0, 9.0), ((200, 30, 30),)),))
    far = body(np.array([[60.0, 0.0, 0.0]]))
    seen = {weather.name: shoot(camera, [wall], far, weather) for weather in WEATHERS}
    redness = {name: image[36, 80, 0] - image[36, 80, 1] for name, image in seen.items()}
    assert redness["sun"] > 50
    assert redness["fog"] < 0.45 * redness["sun"]
    assert seen["night"][:20].mean() < 40 < 0.5 * seen["sun"][:20].mean()
    assert seen["rain"][:14].std(axis=1).mean() > 3 * seen["overcast"][:14].std(axis=1).mean()


def test_at_night_headlights_show_the_road_and_lamps_shine() -> None:
    camera, night = rig((90, 160))["CAM_F0"], WEATHERS[-1]
    assert night.is_dark
    dark, lit = (
        shoot(camera, [thing_of(CAR, is_dark=is_dark)], body(AHEAD), night)
        for is_dark in (False, True)
    )
    ground = dark[70:88, 60:100].mean()
    beside = shoot(rig((90, 160))["CAM_L0"], [thing_of(CAR)], body(AHEAD), night)
    assert ground > 2 * beside[70:88, :40].mean()
    assert lit[..., 0].max() > 180 > dark[40:60, 60:100, 0].max()


@pytest.mark.parametrize("colour", ["red", "yellow", "green"])
def test_a_light_is_seen_in_the_smallest_picture(colour: LightColour) -> None:
    """At scale=tiny, 48 x 192 pixels show from 25 m away what a light shows."""
    worlds = (build_world(SyntheticConfig(seed=11), number) for number in range(40))
    world = next(w for w in worlds if w.story.light is not None and w.layout.kind == "junction")
    light = world.story.light
    assert light is not None
    ego = world.layout.ego.at(light.s - 25.0)
    placed = heads(world.layout, light, colour)
    where = np.array([to_local(head.pose, ego) for head in placed])
    cameras = rig((90, 160))
    left, front, right = (
        shoot(cameras[name], [head.thing for head in placed], body(where)).astype(np.uint8)
        for name in RENDERED
    )
    image = stitch([left, front, right], RENDERED, (48, 192)).transpose(1, 2, 0).astype(int)
    red, green, blue = image[:30, 60:130].reshape(-1, 3).T
    shows = {
        "red": (red > 130) & (green < 0.6 * red) & (blue < 0.6 * red),
        "yellow": (red > 130) & (green > 0.6 * red) & (blue < 0.6 * red),
        "green": (green > 130) & (red < 0.7 * green) & (blue < 0.8 * green),
    }
    assert shows[colour].sum() >= 2
    assert max(shows, key=lambda name: int(shows[name].sum())) == colour


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


@pytest.mark.parametrize(
    ("camera_hw", "sampling", "most_kib"), [((90, 160), 0, 12), ((1080, 1920), 2, 600)]
)
def test_large_images_are_files_of_the_size_that_cameras_write(
    camera_hw: tuple[int, int], sampling: int, most_kib: int, tmp_path: Path
) -> None:
    write_log(SyntheticConfig(num_logs=1, frames_per_log=3, camera_hw=camera_hw), tmp_path, 0)
    files = [*tmp_path.rglob("*.jpg")]
    assert len(files) == 3 * len(RENDERED)
    for file in files:
        with Image.open(file) as image:
            assert JpegImagePlugin.get_sampling(image) == sampling
    assert np.mean([file.stat().st_size for file in files]) < most_kib * 1024
