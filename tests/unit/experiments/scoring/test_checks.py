from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.data import DataError, PolygonMap, Traffic
from experiments.data.maps import read_map
from experiments.scoring import collides, leaves_drivable_area

FRONT, REAR, HALF_WIDTH = 1.461 + 5.176 / 2, 1.461 - 5.176 / 2, 2.297 / 2


def traffic(*objects: tuple[int, float, float, float, float, float]) -> Traffic:
    """Objects as step, x, y, length, width, heading."""
    rows = np.array(objects, np.float64).reshape(-1, 6)
    names = np.array(["vehicle"] * len(rows))
    return Traffic(rows[:, 0].astype(np.int64), rows[:, 1:], np.zeros((len(rows), 2)), names, names)


def driving(speed: float) -> np.ndarray:
    poses = np.zeros((8, 3))
    poses[:, 0] = speed * 0.5 * np.arange(1, 9)
    return poses


def road(path: Path, layer: str = "roadblock", half_width: float = 2.0) -> PolygonMap:
    ring = [[-50, -half_width], [50, -half_width], [50, half_width], [-50, half_width]]
    entry = {"polygons": [{"id": "a", "layer": layer, "polygon": ring}], "route_lane_ids": [],
             "route_roadblock_ids": [], "centerline": []}  # fmt: skip
    path.write_text(json.dumps(entry))
    return read_map(path)


def test_an_empty_road_has_no_collision() -> None:
    assert not collides(driving(10.0), traffic())


def test_a_standing_car_ahead_is_hit() -> None:
    standing = [(step, 20.0, 0.0, 4.5, 2.0, 0.0) for step in range(9)]
    assert collides(driving(10.0), traffic(*standing))
    assert not collides(driving(3.0), traffic(*standing))


def test_only_the_same_instant_counts() -> None:
    """The ego is at 20 m after 2 s; the car was there only before and after."""
    assert not collides(
        driving(10.0), traffic((2, 20.0, 0.0, 4.5, 2.0, 0.0), (7, 20.0, 0, 4.5, 2, 0))
    )
    assert collides(driving(10.0), traffic((4, 20.0, 0.0, 4.5, 2.0, 0.0)))


def test_now_and_beyond_the_plan_do_not_count() -> None:
    here = [(step, 0.0, 0.0, 4.5, 2.0, 0.0) for step in (0, 9, 10)]
    assert not collides(np.zeros((8, 3)), traffic(*here))


@pytest.mark.parametrize(
    ("x", "y", "hit"),
    [
        (FRONT + 0.45, 0.0, True),
        (FRONT + 0.55, 0.0, False),
        (REAR - 0.45, 0.0, True),
        (REAR - 0.55, 0.0, False),
        (0.0, HALF_WIDTH + 0.45, True),
        (0.0, HALF_WIDTH + 0.55, False),
    ],
)
def test_the_footprint_is_that_of_the_pacifica_about_its_rear_axle(
    x: float, y: float, hit: bool
) -> None:
    assert collides(np.zeros((8, 3)), traffic((1, x, y, 1.0, 1.0, 0.0))) is hit


def test_a_turned_box_is_a_turned_box() -> None:
    beside = (1, 1.0, HALF_WIDTH + 1.2, 4.0, 1.0, 0.0)
    assert not collides(np.zeros((8, 3)), traffic(beside))
    assert collides(np.zeros((8, 3)), traffic((*beside[:5], np.pi / 2)))


def test_driving_along_the_road_stays_on_it(tmp_path: Path) -> None:
    assert not leaves_drivable_area(driving(5.0), np.zeros(3), road(tmp_path / "map.json"))


def test_one_corner_beside_the_road_is_enough(tmp_path: Path) -> None:
    poses = driving(5.0)
    poses[7, 1] = 2.0 - HALF_WIDTH + 0.05
    assert leaves_drivable_area(poses, np.zeros(3), road(tmp_path / "map.json"))


def test_the_end_of_the_road_is_left(tmp_path: Path) -> None:
    assert leaves_drivable_area(driving(12.0), np.zeros(3), road(tmp_path / "map.json"))


def test_plans_are_placed_on_the_map_by_the_ego_pose(tmp_path: Path) -> None:
    area = road(tmp_path / "map.json")
    assert leaves_drivable_area(driving(5.0), np.array([0.0, 0.0, np.pi / 2]), area)
    assert not leaves_drivable_area(driving(5.0), np.array([40.0, 0.0, np.pi]), area)


def test_lanes_alone_are_no_drivable_area(tmp_path: Path) -> None:
    assert leaves_drivable_area(driving(5.0), np.zeros(3), road(tmp_path / "map.json", "lane"))


@pytest.mark.parametrize(
    "content", ["", "{}", '{"polygons": [{"id": "a", "layer": "moat", "polygon": []}]}']
)
def test_what_is_no_map_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "odd.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"odd\.json"):
        read_map(path)
