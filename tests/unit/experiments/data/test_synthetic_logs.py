"""Logs and maps of the generated world have OpenScene's form and agree with each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from shapely import Polygon

from experiments.data import Splits, pcd, prepare
from experiments.data.frames import wrap, yaw_of
from experiments.data.logs import read_log
from experiments.data.maps import LAYERS, read_map
from experiments.data.split import drive_of
from experiments.data.synthetic.cameras import RENDERED, rig
from experiments.data.synthetic.motion import STEPS_PER_FRAME
from experiments.data.synthetic.openscene_log import LogContext, log_frames, log_name
from experiments.data.synthetic.towns import TOWNS
from experiments.data.synthetic.world import World, build_world
from experiments.settings import COMMANDS, DataConfig, SyntheticConfig

CAMERAS = {f"CAM_{name}" for name in ("F0", "L0", "L1", "L2", "R0", "R1", "R2", "B0")}
CONFIG = SyntheticConfig(seed=2, num_logs=20, frames_per_log=40)


@pytest.fixture(scope="module")
def drives() -> list[tuple[World, list[dict[str, Any]]]]:
    """Worlds with the frames of their logs."""
    found = []
    for number in range(CONFIG.num_logs):
        world = build_world(CONFIG, number)
        ego = world.layout.ego.at(world.story.ego.s[::STEPS_PER_FRAME])
        context = LogContext(CONFIG, world, ego, np.array([4e5, 4e6, 2.0]))
        found.append((world, log_frames(context, rig((45, 80)))))
    return found


def frames_of(splits: Splits, small_world: DataConfig) -> list[tuple[Path, list[dict[str, Any]]]]:
    root = prepare(small_world)
    return [
        (root, read_log(root / "navsim_logs" / f"{name}.pkl"))
        for name in splits.source.index.log_names
    ]


def test_logs_have_the_form_of_openscene(splits: Splits, small_world: DataConfig) -> None:
    for root, frames in frames_of(splits, small_world):
        for frame in frames:
            assert len(frame["token"]) == 16
            int(frame["token"], 16)
            assert set(frame["cams"]) == {
                f"CAM_{n}" for n in ("F0", "L0", "L1", "L2", "R0", "R1", "R2", "B0")
            }
            for name, camera in frame["cams"].items():
                assert camera["sensor2lidar_rotation"].shape == (3, 3)
                assert camera["distortion"].shape == (5,)
                assert (root / "sensor_blobs" / camera["data_path"]).exists() == (name in RENDERED)
            anns = frame["anns"]
            count = len(anns["gt_names"])
            assert anns["gt_boxes"].shape == (count, 7)
            assert anns["gt_velocity_3d"].shape == (count, 3)
            assert len(anns["track_tokens"]) == len(set(anns["track_tokens"])) == count
            assert np.sum(frame["driving_command"]) == 1
            assert frame["roadblock_ids"]
        image = Image.open(root / "sensor_blobs" / frames[0]["cams"]["CAM_F0"]["data_path"])
        assert image.size == (80, 45)
        assert np.diff([frame["timestamp"] for frame in frames]).tolist() == [500_000] * (
            len(frames) - 1
        )


def test_sweeps_are_neither_empty_nor_huge(splits: Splits, small_world: DataConfig) -> None:
    for root, frames in frames_of(splits, small_world):
        sweep = pcd.read(root / "sensor_blobs" / frames[0]["lidar_path"])
        assert 1000 < len(sweep) < 4000
        assert (sweep["z"] > 0.2).sum() > 30


def test_the_command_names_the_turn_from_its_approach_to_its_end(
    drives: list[tuple[World, list[dict[str, Any]]]],
) -> None:
    for world, frames in drives:
        commands = [COMMANDS[int(np.argmax(frame["driving_command"]))] for frame in frames]
        crossing = world.layout.crossing
        if crossing is None:
            assert set(commands) == {"straight"}
            continue
        s = world.story.ego.s[::STEPS_PER_FRAME]
        for place, command in zip(s, commands, strict=True):
            if crossing.enters_s - 45.0 < place < crossing.leaves_s - 0.5:
                assert command == world.layout.command
            if place > crossing.leaves_s + 0.5 or place < crossing.enters_s - 55.0:
                assert command == "straight"


def test_turns_go_where_the_command_says(
    drives: list[tuple[World, list[dict[str, Any]]]],
) -> None:
    seen = set()
    for world, frames in drives:
        yaws = np.array([float(yaw_of(frame["ego2global_rotation"])) for frame in frames])
        turned = float(wrap(yaws[-1] - yaws[0]))
        if world.layout.crossing is not None and abs(turned) > 1.0:
            seen.add(world.layout.command)
            assert world.layout.command == ("left" if turned > 0 else "right")
    assert seen == {"left", "right"}


def test_lateral_acceleration_is_that_of_the_curve(
    drives: list[tuple[World, list[dict[str, Any]]]],
) -> None:
    """Over a frame, speed times yaw rate is the mean lateral acceleration."""
    strongest = 0.0
    for _, frames in drives:
        yaws = np.array([float(yaw_of(frame["ego2global_rotation"])) for frame in frames])
        state = np.array([frame["ego_dynamic_state"] for frame in frames])
        middle = (state[1:] + state[:-1]) / 2
        turning = middle[:, 0] * wrap(np.diff(yaws)) / 0.5
        np.testing.assert_allclose(turning, middle[:, 3], atol=0.35)
        strongest = max(strongest, float(np.abs(state[:, 3]).max()))
    assert strongest > 1.5


def test_names_tell_the_drive_and_its_frames() -> None:
    config = SyntheticConfig(seed=4, num_logs=6, frames_per_log=20, logs_per_drive=3)
    names = [log_name(config, number) for number in range(6)]
    assert names[:4] == [
        "synthetic-4-0000_00000_00019",
        "synthetic-4-0000_00260_00279",
        "synthetic-4-0000_00520_00539",
        "synthetic-4-0001_00000_00019",
    ]
    assert [drive_of(name) for name in names] == ["synthetic-4-0000"] * 3 + ["synthetic-4-0001"] * 3


def test_chunks_of_a_drive_follow_each_other_in_time() -> None:
    config = SyntheticConfig(seed=4, num_logs=2, frames_per_log=16, logs_per_drive=2)
    first, second = (build_world(config, number) for number in range(2))
    times = []
    for world in (first, second):
        ego = world.layout.ego.at(world.story.ego.s[::STEPS_PER_FRAME])
        context = LogContext(config, world, ego, np.array([4e5, 4e6, 2.0]))
        times.append([frame["timestamp"] for frame in log_frames(context, rig((45, 80)))])
    assert times[1][0] - times[0][-1] > 60_000_000
    assert times[1][-1] - times[0][0] < 86_400_000_000


def test_lights_are_logged_as_their_lamps_show(
    drives: list[tuple[World, list[dict[str, Any]]]],
) -> None:
    reds = 0
    for world, frames in drives:
        light = world.story.light
        ids = {area.id for area in world.layout.areas if area.layer == "lane_connector"}
        for n, frame in enumerate(frames):
            if light is None:
                assert frame["traffic_lights"] == []
                continue
            ((connector, is_red),) = frame["traffic_lights"]
            assert connector in ids
            assert is_red == (light.colour_at(n * 0.5) == "red")
            reds += is_red
    assert reds > 20


def test_the_city_is_the_town(splits: Splits) -> None:
    assert set(splits.source.index.cities) <= {town.name for town in TOWNS}
    assert len(splits.source.index.cities) == len(TOWNS)


def test_maps_have_pavements_crossings_and_stop_lines(
    drives: list[tuple[World, list[dict[str, Any]]]],
) -> None:
    layers: set[str] = set()
    for world, _ in drives:
        drivable = world.layout.drivable.buffer(0.05)
        for area in world.layout.areas:
            polygon = Polygon(area.ring)
            assert polygon.is_valid
            layers.add(area.layer)
            if area.layer == "walkway":
                assert polygon.intersection(world.layout.drivable).area < 0.02 * polygon.area
            if area.layer in ("crosswalk", "stop_line"):
                assert drivable.covers(polygon)
        walks = {area.layer for area in world.layout.areas}
        assert "walkway" in walks
    assert layers == set(LAYERS)


def test_maps_lead_along_the_route(splits: Splits, small_world: DataConfig) -> None:
    root = prepare(small_world)
    for name in splits.source.index.log_names:
        area = read_map(root / "maps" / f"{name}.json")
        lanes = {p.id: p for p in area.polygons if p.layer in ("lane", "lane_connector")}
        assert set(area.route_lane_ids) <= set(lanes)
        assert set(area.route_roadblock_ids) <= {
            p.id for p in area.polygons if p.layer == "roadblock"
        }
        assert all(lanes[lane].centerline is not None for lane in area.route_lane_ids)


def test_dynamics_agree_with_the_poses(splits: Splits) -> None:
    source = splits.source
    for i in range(len(source.index)):
        _, _, _, _, vx, vy, ax, _ = source.status[i]
        step = np.hypot(*source.future[i, 0, :2])
        # Bounded jerk: over half a second, constant acceleration is off by at most j t^3 / 6.
        expected = max(0.0, vx * 0.5 + ax * 0.125)
        assert step == pytest.approx(expected, abs=3.4 * 0.5**3 / 6 + 0.1)
        assert vy == 0.0
