from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.data import DataError, Sensor, Splits
from experiments.data.frames import quaternion_of, to_global, wrap, yaw_of
from experiments.data.logs import read_log
from experiments.settings import COMMANDS, DataConfig
from tests.unit.experiments.data.worlds import (
    SMALL,
    WINDOWS_PER_LOG,
    edit_log,
    first_log,
    open_copy,
    sensor_file,
)

IMAGE: frozenset[Sensor] = frozenset({"image"})
LIDAR: frozenset[Sensor] = frozenset({"lidar"})


def move(frames: list[dict[str, Any]], by: np.ndarray) -> None:
    """Apply one rigid motion of the globe to a log."""
    for frame in frames:
        yaw = float(yaw_of(frame["ego2global_rotation"]))
        pose = to_global([*frame["ego2global_translation"][:2], yaw], by)
        frame["ego2global_translation"] = np.array([pose[0], pose[1], 3.0])
        frame["ego2global_rotation"] = quaternion_of(float(pose[2]))


def test_every_log_has_the_windows_that_fit(splits: Splits) -> None:
    index = splits.source.index
    assert len(index) == SMALL.num_logs * WINDOWS_PER_LOG
    assert np.bincount(index.log).tolist() == [WINDOWS_PER_LOG] * SMALL.num_logs
    assert len(set(index.token.tolist())) == len(index)


def test_the_token_is_that_of_the_last_history_frame(recorded: DataConfig) -> None:
    frames = read_log(first_log(recorded))
    tokens = [token.decode() for token in open_copy(recorded).index.token[:WINDOWS_PER_LOG]]
    assert tokens == [frame["token"] for frame in frames[3:6]]


def test_windows_may_be_spaced_out(recorded: DataConfig) -> None:
    source = open_copy(replace(recorded, frame_interval=2))
    assert np.bincount(source.index.log).tolist() == [2, 2]


def test_the_future_is_what_the_global_poses_say(recorded: DataConfig) -> None:
    frames = read_log(first_log(recorded))[3:12]
    place = np.array([complex(*frame["ego2global_translation"][:2]) for frame in frames])
    turn = np.exp(1j * np.array([yaw_of(frame["ego2global_rotation"]) for frame in frames]))
    local = (place[1:] - place[0]) / turn[0]
    expected = np.stack([local.real, local.imag, np.angle(turn[1:] / turn[0])], axis=-1)
    np.testing.assert_allclose(open_copy(recorded).future[0], expected, atol=1e-4)


def test_the_future_starts_about_one_step_ahead(splits: Splits) -> None:
    source = splits.source
    np.testing.assert_allclose(source.future[:, 0, 0], source.status[:, 4] * 0.5, atol=0.5)


def test_labels_do_not_depend_on_where_on_earth_the_log_is(recorded: DataConfig) -> None:
    before = open_copy(recorded)
    boxes = before.boxes(0).box
    for by in ([1234.5, -987.0, 2.5], [0.0, 0.0, np.pi]):
        edit_log(first_log(recorded), lambda frames, by=by: move(frames, np.array(by)))  # type: ignore[misc]
    after = open_copy(recorded)
    assert not np.allclose(after.pose[0], before.pose[0])
    np.testing.assert_allclose(after.future, before.future, atol=1e-4)
    np.testing.assert_array_equal(after.status, before.status)
    np.testing.assert_allclose(after.boxes(0).box, boxes, atol=1e-4)


def test_status_is_command_velocity_acceleration(recorded: DataConfig) -> None:
    frame = read_log(first_log(recorded))[3]
    status = open_copy(recorded).load(0, frozenset()).status
    expected = [*frame["driving_command"], *frame["ego_dynamic_state"]]
    np.testing.assert_allclose(status, expected, rtol=1e-6)
    assert status.dtype == np.float32


def test_a_sample_holds_only_what_was_asked_for(splits: Splits) -> None:
    sample = splits.source.load(0, IMAGE)
    assert sample.image is not None
    assert sample.image.shape == (3, 32, 128)
    assert sample.image.dtype == np.uint8
    assert sample.lidar is None
    sample = splits.source.load(0, LIDAR)
    assert sample.lidar is not None
    assert sample.lidar.shape == (1, 64, 64)
    assert sample.image is None
    assert sample.command in COMMANDS
    assert sample.future.shape == (8, 3)


def test_standing_objects_stand_still_in_the_current_frame(splits: Splits) -> None:
    source, seen = splits.source, 0
    for i in range(len(source.index)):
        traffic = source.boxes(i)
        for track in np.unique(traffic.track):
            rows = traffic.track == track
            if np.hypot(*traffic.velocity[rows].T).max() < 1e-3 and rows.sum() > 1:
                seen += 1
                np.testing.assert_allclose(np.ptp(traffic.box[rows, :2], axis=0), 0, atol=1e-2)
    assert seen > 10


def test_moving_objects_move_by_their_velocity(splits: Splits) -> None:
    source, seen = splits.source, 0
    for i in range(0, len(source.index), 2):
        now, soon = source.boxes(i).at(0), source.boxes(i).at(1)
        for row, track in enumerate(now.track):
            match = np.flatnonzero(soon.track == track)
            if len(match) and np.hypot(*now.velocity[row]) > 1.0:
                seen += 1
                step = soon.box[match[0], :2] - now.box[row, :2]
                mean = (now.velocity[row] + soon.velocity[match[0]]) / 2
                np.testing.assert_allclose(step, mean * 0.5, atol=0.25)
    assert seen > 20


def test_cars_face_the_way_they_drive_also_later_on(splits: Splits) -> None:
    source = splits.source
    for i in range(len(source.index)):
        traffic = source.boxes(i)
        fast = np.hypot(*traffic.velocity.T) > 1.0
        way = np.arctan2(traffic.velocity[fast, 1], traffic.velocity[fast, 0])
        assert np.abs(wrap(traffic.box[fast, 4] - way)).max(initial=0.0) < 1e-3


def test_traffic_covers_five_seconds(splits: Splits) -> None:
    assert np.unique(splits.source.boxes(0).step).tolist() == list(range(11))


def test_trap_a_missing_camera_is_an_error_not_an_empty_image(recorded: DataConfig) -> None:
    source = open_copy(recorded)
    path = sensor_file(recorded, 3, "CAM_R0")
    path.unlink()
    with pytest.raises(DataError, match=path.name):
        source.load(0, IMAGE)
    source.load(0, LIDAR)


def test_a_truncated_camera_file_is_named(recorded: DataConfig) -> None:
    path = sensor_file(recorded, 3, "CAM_F0")
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataError, match=path.name):
        open_copy(recorded).load(0, IMAGE)


def test_a_truncated_point_cloud_is_named(recorded: DataConfig) -> None:
    frame = read_log(first_log(recorded))[3]
    path = Path(recorded.root) / "sensor_blobs" / frame["lidar_path"]
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(DataError, match=path.name):
        open_copy(recorded).load(0, LIDAR)


def test_a_missing_point_cloud_is_named(recorded: DataConfig) -> None:
    frame = read_log(first_log(recorded))[3]
    path = Path(recorded.root) / "sensor_blobs" / frame["lidar_path"]
    path.unlink()
    with pytest.raises(DataError, match=path.name):
        open_copy(recorded).load(0, LIDAR)


def test_a_camera_that_the_log_does_not_list_is_refused(recorded: DataConfig) -> None:
    path = first_log(recorded)
    edit_log(path, lambda frames: frames[3]["cams"].pop("CAM_L0"))
    with pytest.raises(DataError, match="lists no file for CAM_L0"):
        open_copy(recorded).load(0, IMAGE)


def test_a_log_that_is_too_short_is_refused(recorded: DataConfig) -> None:
    path = first_log(recorded)
    edit_log(path, lambda frames: frames.__delitem__(slice(13, None)))
    with pytest.raises(DataError, match="has 13 frames, too few for a window of 14") as caught:
        open_copy(recorded)
    assert path.name in str(caught.value)


def test_a_folder_without_logs_is_refused(recorded: DataConfig, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="no log"):
        open_copy(replace(recorded, logs=str(empty)))


def test_frames_without_a_route_are_no_windows(recorded: DataConfig) -> None:
    edit_log(first_log(recorded), lambda frames: frames[3].update(roadblock_ids=[]))
    assert len(open_copy(recorded).index) == 2 * WINDOWS_PER_LOG - 1


def test_logs_without_any_route_are_refused(recorded: DataConfig) -> None:
    for path in (Path(recorded.root) / "navsim_logs").iterdir():
        edit_log(path, lambda frames: [frame.update(roadblock_ids=[]) for frame in frames])
    with pytest.raises(DataError, match="has a route"):
        open_copy(recorded)


def test_annotations_that_are_not_finite_are_refused(recorded: DataConfig) -> None:
    def spoil(frames: list[dict[str, Any]]) -> None:
        frames[4]["anns"]["gt_boxes"][0, 0] = np.inf

    edit_log(first_log(recorded), spoil)
    with pytest.raises(DataError, match=read_log(first_log(recorded))[4]["token"]):
        open_copy(recorded).boxes(0)


def test_a_missing_map_is_named(recorded: DataConfig) -> None:
    source = open_copy(recorded)
    path = Path(recorded.root) / "maps" / f"{source.index.log_names[0]}.json"
    path.unlink()
    with pytest.raises(DataError, match=path.name):
        source.map_of(0)


def test_maps_know_what_is_near(splits: Splits) -> None:
    source = splits.source
    area, pose = source.map_of(0), source.pose[0]
    near = area.near(pose[0], pose[1], 5.0)
    assert {"roadblock", "lane"} <= {polygon.layer for polygon in near}
    assert area.near(0.0, 0.0, 5.0) == ()
