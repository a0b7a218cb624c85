"""Scenes out of generated drives: what the log and its map say, and what scores make of it."""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from experiments.data.errors import DataError
from experiments.data.frames import Floats, to_global, to_local
from experiments.data.logs import read_log
from experiments.data.openscene import OpenSceneSource
from experiments.data.source import SceneSource, Traffic
from experiments.data.synthetic.cameras import rig
from experiments.data.synthetic.generate import LOGS, MAPS, SENSORS
from experiments.data.synthetic.openscene_log import LogContext, draw_origin, log_frames, log_map
from experiments.data.synthetic.stage import set_stage
from experiments.data.synthetic.world import build_world, rng_for
from experiments.scoring.baselines import constant_velocity
from experiments.scoring.pdm.from_source import SourceScenes, tracks_of
from experiments.scoring.pdm.score import score
from experiments.settings import DataConfig, SyntheticConfig
from launcher.errors import ConfigError
from tests.unit.experiments.data.worlds import open_copy

ORIGIN = np.array([4e5, 4e6, 2.5])
Row = tuple[int, str, float]


def traffic(*rows: Row, kind: str = "vehicle", speed: float = 6.0) -> Traffic:
    """Cars of (step, track, x), each as long as its step is late, heading and moving along x."""
    count = len(rows)
    boxes = [(x, 2.0, 4.0 + 0.1 * step, 2.0, 0.0) for step, _, x in rows]
    return Traffic(
        step=np.array([step for step, _, _ in rows], np.int64),
        box=np.array(boxes, np.float64).reshape(-1, 5),
        velocity=np.tile([speed, 0.0], (count, 1)),
        kind=np.array([kind] * count, np.str_),
        track=np.array([track for _, track, _ in rows], np.str_),
    )


def local_x(boxes: Floats) -> Floats:
    return to_local(boxes[..., :3], ORIGIN)[..., 0]


def test_boxes_are_interpolated_between_frames() -> None:
    rows: list[Row] = [(step, "a", 3.0 * step) for step in range(11)]
    tracks = tracks_of(traffic(*rows), ORIGIN, "w")
    assert tracks.tokens == ("a",)
    assert tracks.present.all()
    np.testing.assert_allclose(local_x(tracks.boxes[0]), 0.6 * np.arange(51), atol=1e-6)
    np.testing.assert_allclose(tracks.boxes[0, :, 3:], [[4.0, 2.0]] * 51)
    wanted = 6.0 * np.array([np.cos(2.5), np.sin(2.5)])
    np.testing.assert_allclose(tracks.velocities[0], [wanted] * 51, atol=1e-9)


def test_a_track_is_present_from_its_first_to_its_last_frame() -> None:
    tracks = tracks_of(traffic((0, "a", 0.0), (2, "b", 1.0), (1, "a", 1.0), (4, "b", 5.0)),
                       ORIGIN, "w")  # fmt: skip
    assert tracks.tokens == ("a", "b")
    assert np.flatnonzero(tracks.present[0]).tolist() == list(range(6))
    assert np.flatnonzero(tracks.present[1]).tolist() == list(range(10, 21))


def test_a_frame_that_misses_a_track_is_bridged() -> None:
    tracks = tracks_of(traffic((0, "a", 0.0), (3, "a", 6.0)), ORIGIN, "w")
    np.testing.assert_allclose(local_x(tracks.boxes[0, :16]), 0.4 * np.arange(16), atol=1e-6)


def test_a_track_of_one_frame_stands_all_along_as_in_the_official_cache() -> None:
    tracks = tracks_of(traffic((6, "a", 9.0)), ORIGIN, "w")
    assert tracks.present.all()
    np.testing.assert_allclose(local_x(tracks.boxes[0]), 9.0, atol=1e-6)


def test_things_have_no_velocity() -> None:
    tracks = tracks_of(traffic((0, "a", 0.0), (1, "a", 0.0), kind="barrier"), ORIGIN, "w")
    assert not tracks.velocities.any()


def test_frames_beyond_five_seconds_are_not_read() -> None:
    rows: list[Row] = [(0, "a", 0.0), (8, "a", 8.0), (11, "a", 99.0), (12, "b", 0.0)]
    tracks = tracks_of(traffic(*rows), ORIGIN, "w")
    assert tracks.tokens == ("a",)
    assert np.flatnonzero(tracks.present[0]).tolist() == list(range(41))
    assert local_x(tracks.boxes[0, 40]) == pytest.approx(8.0, abs=1e-6)


def test_headings_are_interpolated_the_short_way() -> None:
    turning = traffic((0, "a", 0.0), (1, "a", 0.0))
    turning.box[:, 4] = [3.0, -3.0]
    found = to_local(tracks_of(turning, ORIGIN, "w").boxes[0, :6, :3], ORIGIN)[:, 2]
    steps = np.diff(np.unwrap(found))
    np.testing.assert_allclose(steps, (2 * np.pi - 6.0) / 5, atol=1e-9)


def test_an_empty_road_has_no_tracks() -> None:
    tracks = tracks_of(traffic(), ORIGIN, "w")
    assert tracks.tokens == ()
    assert tracks.boxes.shape == (0, 51, 5)
    assert tracks.velocities.shape == (0, 51, 2)


def test_impossible_annotations_are_named() -> None:
    with pytest.raises(DataError, match="`a` of window `w` comes twice in a frame"):
        tracks_of(traffic((1, "a", 0.0), (1, "a", 1.0)), ORIGIN, "w")
    with pytest.raises(DataError, match="of the type `tram`"):
        tracks_of(traffic((1, "a", 0.0), kind="tram"), ORIGIN, "w")
    changes = traffic((0, "a", 0.0), (1, "a", 1.0))
    changes = replace(changes, kind=np.array(["vehicle", "bicycle"]))
    with pytest.raises(DataError, match="changes its type"):
        tracks_of(changes, ORIGIN, "w")


def test_data_without_maps_is_refused() -> None:
    source = cast(SceneSource, SimpleNamespace(has_maps=False))
    with pytest.raises(ConfigError, match="has no maps"):
        SourceScenes(source, DataConfig())


def test_windows_that_end_early_are_refused() -> None:
    source = cast(SceneSource, SimpleNamespace(has_maps=True))
    with pytest.raises(ConfigError, match="num_future_frames=8` ends windows before 5 s"):
        SourceScenes(source, DataConfig(num_future_frames=8))


@dataclass(frozen=True)
class Drives:
    """Generated logs with maps, one window each; their sensors are left out, to save time."""

    config: DataConfig
    source: OpenSceneSource
    scenes: SourceScenes

    def frame(self, i: int) -> dict[str, Any]:
        """Return the log's entry of a window's current frame."""
        index = self.source.index
        path = Path(self.config.root) / LOGS / f"{index.log_names[index.log[i]]}.pkl"
        (frame,) = (f for f in read_log(path) if f["token"] == index.token[i].decode())
        return frame

    def red(self, i: int) -> list[str]:
        return [area for area, is_red in self.frame(i)["traffic_lights"] if is_red]


@pytest.fixture(scope="module")
def drives(tmp_path_factory: pytest.TempPathFactory) -> Drives:
    root = tmp_path_factory.mktemp("drives")
    for folder in (LOGS, MAPS, SENSORS):
        (root / folder).mkdir()
    asked = SyntheticConfig(seed=11, num_logs=24, frames_per_log=14, camera_hw=(18, 32))
    for number in range(asked.num_logs):
        world = build_world(asked, number)
        ego = set_stage(rng_for(asked, number, 1), world).ego
        context = LogContext(asked, world, ego, draw_origin(rng_for(asked, number, 2)))
        frames = log_frames(context, rig(asked.camera_hw))
        (root / LOGS / f"{context.name}.pkl").write_bytes(pickle.dumps(frames, protocol=4))
        (root / MAPS / f"{context.name}.json").write_text(json.dumps(log_map(context)))
    config = DataConfig(root=str(root), source="openscene")
    source = open_copy(config)
    assert len(source.index) == asked.num_logs
    return Drives(config, source, SourceScenes(source, config))


def test_a_scene_holds_what_the_log_says(drives: Drives) -> None:
    source = drives.source
    scene, frame = drives.scenes.read(4), drives.frame(4)
    assert scene.token == frame["token"]
    assert np.array_equal(scene.ego.pose[:2], frame["ego2global_translation"][:2])
    np.testing.assert_allclose(scene.ego.velocity, frame["ego_dynamic_state"][:2], rtol=1e-6)
    np.testing.assert_allclose(scene.ego.acceleration, frame["ego_dynamic_state"][2:], rtol=1e-6)
    assert scene.ego.steering_angle == 0.0
    traffic_now = source.boxes(4).at(3)
    for place, name in enumerate(traffic_now.track):
        row = scene.tracks.tokens.index(name)
        wanted = to_global(traffic_now.box[place, [0, 1, 4]], scene.ego.pose)
        np.testing.assert_allclose(scene.tracks.boxes[row, 15, :3], wanted, atol=1e-9)


def test_polygons_are_those_around_the_ego_that_the_score_knows(drives: Drives) -> None:
    scene, area = drives.scenes.read(0), drives.source.map_of(0)
    layers = {polygon.layer for polygon in area.polygons}
    assert {"walkway", "crosswalk"} & layers
    known = [p.id for p in area.polygons if p.layer not in ("walkway", "crosswalk", "stop_line")]
    assert {polygon.id for polygon in scene.polygons} <= set(known)
    centre = to_global([1.461, 0.0, 0.0], scene.ego.pose)[:2]
    for polygon in scene.polygons:
        low, high = polygon.ring.min(axis=0) - centre, polygon.ring.max(axis=0) - centre
        assert (low <= 100).all() and (high >= -100).all()  # noqa: PT018


def test_a_scene_is_the_same_again(drives: Drives) -> None:
    first, second = drives.scenes.read(7), drives.scenes.read(7)
    assert np.array_equal(first.reference, second.reference)
    assert np.array_equal(first.tracks.boxes, second.tracks.boxes)


def test_a_light_on_nothing_is_refused(drives: Drives) -> None:
    token = drives.source.index.token[0].decode()
    with pytest.raises(DataError, match=f"`{token}`: a light closes `nowhere`"):
        drives.scenes.read(0, {"nowhere"})


def test_a_red_light_keeps_the_reference_back(drives: Drives) -> None:
    lit = [i for i in range(len(drives.source.index)) if drives.red(i)]
    assert lit
    gained = []
    for i in lit:
        plans = [drives.scenes.read(i).reference, drives.scenes.read(i, drives.red(i)).reference]
        runs, stops = (np.hypot(*(plan[-1] - plan[0])[:2]) for plan in plans)
        gained.append(runs - stops)
    assert min(gained) >= -1e-9
    assert max(gained) > 5.0


def test_the_human_scores_high_and_constant_velocity_lower(drives: Drives) -> None:
    """Not every human: the tracker cuts tight bends, and a bend aims at cars that are parked."""
    human, constant = [], []
    for i in range(len(drives.source.index)):
        scene = drives.scenes.read(i, drives.red(i))
        ahead = constant_velocity(drives.source.status[[i]])
        found = score(scene, np.concatenate([drives.source.future[[i]], ahead]))
        human.append(found.pdms[0])
        constant.append(found.pdms[1])
        assert found.nc[0] == 1.0
        assert found.ddc[0] == 1.0
        assert np.array_equal(scene.reference[0], scene.ego.pose)
    assert np.median(human) > 0.8
    assert np.mean(human) > np.mean(constant) + 0.2
