"""Plans in camera images lie where the renderer would paint them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from experiments.data import DataError, Splits
from experiments.data.calibration import Calibration, calibration_of, camera_view
from experiments.data.synthetic.cameras import Camera, rig
from experiments.data.synthetic.mesh import Box, Thing
from experiments.data.vehicle import WIDTH_M
from experiments.figures.camera import NEAREST_M, CameraRow, camera_sheet, on_image
from experiments.settings import DataConfig
from launcher.errors import ConfigError
from tests.unit.experiments.data.conftest import recorded, small_world, splits
from tests.unit.experiments.data.test_synthetic_sensors import PURE, photograph
from tests.unit.experiments.data.worlds import edit_log, first_log, open_copy
from tests.unit.experiments.scenes_to_draw import plan

__all__ = ["recorded", "small_world", "splits"]

HW = (270, 480)


def calibration(camera: Camera) -> Calibration:
    return Calibration(
        rotation=camera.rotation, translation=camera.translation, intrinsic=camera.intrinsic
    )


@pytest.mark.parametrize(
    ("name", "x", "y"),
    [("CAM_F0", 12.0, 0.0), ("CAM_F0", 25.0, -4.0), ("CAM_L0", 8.0, 9.0), ("CAM_R0", 7.0, -10.0)],
)
def test_a_spot_on_the_road_is_painted_where_it_is_projected(name: str, x: float, y: float) -> None:
    # A flat plate, coloured as nothing else is.
    plate = Thing((Box(0.0, 0.0, 0.0, (0.8, 0.8, 0.01), PURE),))
    image = photograph(plate, np.array([x, y, 0.0]), name, HW)
    rows, columns = np.nonzero((image[..., 0] > 90) & (image[..., 1] < 40) & (image[..., 2] > 90))
    assert len(rows) > 3
    (place,), depth = calibration(rig(HW)[name]).project([[x, y, 0.01]])
    assert depth > 0
    # Pixels are counted from their edges: the middle of the first one is at a half.
    assert place == pytest.approx([columns.mean() + 0.5, rows.mean() + 0.5], abs=1.0)


def test_the_image_of_a_window_is_the_one_that_its_log_lists(splits: Splits) -> None:
    source: Any = splits.source
    i = int(splits.test[0])
    view = camera_view(source, i)
    (path,) = [path for path in source.sensor_paths(int(source.index.frame[i]), "image")
               if "CAM_F0" in path.parts]  # fmt: skip
    with Image.open(path) as image:
        assert np.array_equal(view.pixels, np.asarray(image.convert("RGB")))
    expected = calibration(rig(view.pixels.shape[:2])["CAM_F0"])
    for name in ("rotation", "translation", "intrinsic"):
        assert np.array_equal(getattr(view.calibration, name), getattr(expected, name))
    assert view.token == source.index.token[i].decode()


def test_a_way_straight_ahead_runs_up_the_middle_and_to_the_horizon() -> None:
    front = calibration(rig(HW)["CAM_F0"])
    ahead = np.array([[4000.0 * i, 0.0, 0.0] for i in range(1, 9)])
    places = on_image(front, ahead)
    seen = places[np.isfinite(places).all(1)]
    assert seen[:, 0] == pytest.approx(HW[1] / 2)
    assert (np.diff(seen[:, 1]) < 0).all()
    horizon = HW[0] / 2 - front.intrinsic[1, 1] * np.tan(np.radians(3.0))
    assert seen[-1, 1] == pytest.approx(horizon, abs=0.1)


def test_what_is_behind_the_camera_is_not_drawn() -> None:
    front = calibration(rig(HW)["CAM_F0"])
    places = on_image(front, np.array([[-2.0 * i, 0.0, 0.0] for i in range(1, 9)]))
    assert np.isnan(places).all()
    _, depth = front.project([[2.0, 0.0, 0.0]])
    start = on_image(front, np.array([[2.0, 0.0, 0.0]]))
    assert np.isfinite(start[-1]).all() == (depth[0] >= NEAREST_M)


def test_the_band_of_a_plan_is_as_wide_as_the_car() -> None:
    front = calibration(rig(HW)["CAM_F0"])
    poses = np.array([[5.0 * i, 0.0, 0.0] for i in range(1, 9)])
    left, right = (on_image(front, poses, side * WIDTH_M / 2)[-1] for side in (1, -1))
    _, depth = front.project([[40.0, 0.0, 0.0]])
    assert right[0] - left[0] == pytest.approx(front.intrinsic[0, 0] * WIDTH_M / depth[0])


def test_a_plan_that_stands_can_be_drawn(splits: Splits) -> None:
    source: Any = splits.source
    view = camera_view(source, int(splits.test[0]))
    standing = replace(plan("a"), poses=np.zeros((8, 3)))
    drawn = camera_sheet([CameraRow(view=view, plans=[standing], human=np.zeros((8, 3)))], "png")
    assert drawn.startswith(b"\x89PNG")


def test_the_same_sheet_has_the_same_bytes_and_other_runs_in_a_row_are_refused(
    splits: Splits,
) -> None:
    source: Any = splits.source
    view = camera_view(source, int(splits.test[0]))
    row = CameraRow(view=view, plans=[plan("a"), plan("b")], human=plan("h").poses)
    assert camera_sheet([row], "png") == camera_sheet([row], "png")
    with pytest.raises(DataError, match="has plans of"):
        camera_sheet([row, replace(row, plans=[plan("a")])], "png")
    with pytest.raises(DataError, match="no scenes"):
        camera_sheet([], "png")
    with pytest.raises(ConfigError, match="suffix"):
        camera_sheet([row], "jpg")


def test_a_log_without_a_calibration_is_refused_by_name(recorded: DataConfig) -> None:
    def forget(frames: list[dict[str, Any]]) -> None:
        for frame in frames:
            del frame["cams"]["CAM_F0"]["cam_intrinsic"]

    edit_log(first_log(recorded), forget)
    source = open_copy(recorded)
    token = source.index.token[0].decode()
    with pytest.raises(DataError, match=f"frame `{token}`, CAM_F0: .* no `cam_intrinsic`"):
        camera_view(source, 0)
    assert camera_view(source, 0, "CAM_L0").pixels.ndim == 3
    with pytest.raises(ConfigError, match="camera=CAM_B0"):
        camera_view(source, 0, "CAM_B0")


def test_a_missing_image_is_refused_by_name(recorded: DataConfig) -> None:
    for path in (Path(recorded.root or "") / "sensor_blobs").glob("*/CAM_F0/*"):
        path.unlink()
    with pytest.raises(DataError, match=r"camera image .*CAM_F0.* is missing"):
        camera_view(open_copy(recorded), 0)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("sensor2lidar_rotation", np.eye(3) * 2, "is no rotation"),
        ("sensor2lidar_rotation", np.eye(4), r"is not \(3, 3\) finite numbers"),
        ("sensor2lidar_translation", [0.0, np.nan, 0.0], "finite numbers"),
        ("cam_intrinsic", [["f", 0, 0]], "not made of numbers"),
    ],
)
def test_an_impossible_calibration_is_refused(key: str, value: Any, message: str) -> None:
    entry = {
        "sensor2lidar_rotation": np.eye(3),
        "sensor2lidar_translation": np.zeros(3),
        "cam_intrinsic": np.eye(3),
    }
    with pytest.raises(DataError, match=message):
        calibration_of({"cams": {"CAM_F0": {**entry, key: value}}}, "CAM_F0")
