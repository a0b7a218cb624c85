"""The reference plan of scenes that come without one: it drives on, stops, gives way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from experiments.data.errors import DataError
from experiments.data.frames import Floats, to_global
from experiments.data.vehicle import FRONT_M, WIDTH_M
from experiments.scoring.pdm.reference import Outlook, plan_reference
from experiments.scoring.pdm.reference_path import centre_path
from experiments.scoring.pdm.scene import STEP_S, TRACK_STATES, MapPolygon, Tracks
from tests.unit.experiments.scoring.pdm.worlds import ego_at_origin

Box = tuple[float, float, float, float, float]


def tracks(*boxes: Box, speed: float = 0.0, kind: str = "vehicle") -> Tracks:
    """Objects at `boxes` x, y, heading, length, width that move along x."""
    placed = np.repeat(np.array(boxes, np.float64).reshape(-1, 1, 5), TRACK_STATES, axis=1)
    placed[..., 0] += speed * STEP_S * np.arange(TRACK_STATES)
    return Tracks(
        tokens=tuple(f"t{n}" for n in range(len(boxes))),
        types=(kind,) * len(boxes),  # type: ignore[arg-type]
        boxes=placed,
        velocities=np.tile([speed, 0.0], (len(boxes), TRACK_STATES, 1)),
        present=np.ones((len(boxes), TRACK_STATES), np.bool_),
    )


def outlook(
    others: Tracks | None = None, *, speed: float = 8.0, length: float = 300.0, half: float = 6.0
) -> Outlook:
    """A straight road along x, `half` metres to each side, with the ego at its origin."""
    s = np.arange(-40.0, length + 0.5)
    ring = np.array([(-60.0, -half), (length + 60, -half), (length + 60, half), (-60.0, half)])
    return Outlook(
        token="straight",
        ego=ego_at_origin(speed),
        polygons=(
            MapPolygon(id="rb", layer="roadblock", ring=ring),
            MapPolygon(id="lane", layer="lane", ring=ring),
        ),
        route_lane_ids=frozenset(["lane"]),
        centerline=np.stack([s, np.zeros_like(s), np.zeros_like(s)], axis=-1),
        tracks=others if others is not None else tracks(),
    )


def speeds(plan: Floats) -> Floats:
    found: Floats = np.hypot(*np.diff(plan[:, :2], axis=0).T) / STEP_S
    return found


def test_a_free_road_is_driven_with_all_comfortable_acceleration() -> None:
    plan = plan_reference(outlook())
    assert plan.shape == (41, 3)
    assert np.array_equal(plan[0], np.zeros(3))
    np.testing.assert_allclose(plan[:, 1:], 0.0, atol=1e-9)
    gained = np.diff(speeds(plan)) / STEP_S
    assert gained[0] == pytest.approx(1.5, abs=0.02)
    assert np.all(gained <= 1.5 + 1e-9)
    assert 40.0 < plan[-1, 0] < 8.0 * 4 + 0.75 * 16


def test_no_plan_is_faster_than_the_limit() -> None:
    assert speeds(plan_reference(outlook(speed=15.0))).max() <= 15.0 + 1e-6


def test_it_stops_behind_a_standing_car() -> None:
    plan = plan_reference(outlook(tracks((30.0, 0.0, 0.0, 4.5, 2.0))))
    assert plan[-1, 0] + FRONT_M < 30.0 - 2.25
    assert speeds(plan)[-1] < 2.5


def test_it_keeps_behind_a_slow_car() -> None:
    plan = plan_reference(outlook(tracks((20.0, 0.0, 0.0, 4.5, 2.0), speed=4.0)))
    gap = 20.0 + 4.0 * STEP_S * np.arange(41) - 2.25 - (plan[:, 0] + FRONT_M)
    assert gap.min() > 1.0


def test_a_car_in_the_next_lane_is_passed() -> None:
    free = plan_reference(outlook())
    beside = plan_reference(outlook(tracks((20.0, 3.5, 0.0, 4.5, 2.0))))
    assert beside[-1, 0] == pytest.approx(free[-1, 0])


def test_it_moves_aside_where_that_is_enough() -> None:
    plan = plan_reference(outlook(tracks((30.0, -0.5, 0.0, 0.5, 0.5), kind="traffic_cone")))
    assert plan[-1, 0] > 35.0
    assert plan[-1, 1] == pytest.approx(1.0)
    assert plan[-1, 1] - WIDTH_M / 2 > -0.25


def test_it_does_not_move_aside_off_the_road() -> None:
    cone = tracks((30.0, -0.5, 0.0, 0.5, 0.5), kind="traffic_cone")
    plan = plan_reference(outlook(cone, half=1.8))
    assert abs(plan[-1, 1]) < 1e-9
    assert plan[-1, 0] + FRONT_M < 30.0


def test_what_others_will_do_is_not_known() -> None:
    """A car that will stop, but now drives away as fast as the ego."""
    leaves = tracks((15.0, 0.0, 0.0, 4.5, 2.0), speed=12.0)
    stops = replace(leaves, boxes=np.repeat(leaves.boxes[:, :1], TRACK_STATES, axis=1))
    plan = plan_reference(outlook(leaves))
    assert plan[-1, 0] > 25.0
    assert np.array_equal(plan, plan_reference(outlook(stops)))


def test_what_is_not_there_yet_is_not_known() -> None:
    wall = tracks((25.0, 0.0, 0.0, 4.5, 2.0))
    wall.present[:, :3] = False
    wall.boxes[:, :3] = np.nan
    assert plan_reference(outlook(wall))[-1, 0] == pytest.approx(plan_reference(outlook())[-1, 0])


def test_what_is_not_seen_yet_is_not_known_either() -> None:
    wall = tracks((25.0, 0.0, 0.0, 4.5, 2.0))
    assert plan_reference(outlook(wall), seen=())[-1, 0] > 35.0
    assert plan_reference(outlook(wall), seen={"t0"})[-1, 0] < 25.0


def test_a_red_light_is_a_wall() -> None:
    road = outlook()
    ring = np.array([(25.0, -2.0), (40.0, -2.0), (40.0, 2.0), (25.0, 2.0)])
    connector = MapPolygon(id="conn", layer="lane_connector", ring=ring)
    road = replace(road, polygons=(*road.polygons, connector))
    assert plan_reference(road)[-1, 0] > 35.0
    assert plan_reference(road, {"conn"})[-1, 0] + FRONT_M < 25.0


def test_a_light_that_is_passed_stops_nobody() -> None:
    road = outlook()
    ring = np.array([(-9.0, -2.0), (0.0, -2.0), (0.0, 2.0), (-9.0, 2.0)])
    connector = MapPolygon(id="conn", layer="lane_connector", ring=ring)
    road = replace(road, polygons=(*road.polygons, connector))
    assert np.array_equal(plan_reference(road, {"conn"}), plan_reference(road))


def test_the_end_of_the_route_is_not_passed() -> None:
    assert plan_reference(outlook(length=25.0))[-1, 0] <= 25.0


def test_it_begins_where_the_ego_is_and_leads_to_the_route() -> None:
    road = outlook()
    beside = np.array([0.0, 0.7, 0.05])
    plan = plan_reference(replace(road, ego=replace(road.ego, pose=beside)))
    assert np.array_equal(plan[0], beside)
    assert plan[-1, 1] in (pytest.approx(0.0), pytest.approx(1.0))


def test_a_standing_ego_starts() -> None:
    plan = plan_reference(outlook(speed=0.0))
    assert 0.5 * 1.5 * 16 * 0.8 < plan[-1, 0] <= 0.5 * 1.5 * 16


def test_a_plan_turns_and_moves_with_the_world() -> None:
    """Also at distances from the origin as of UTM coordinates."""
    road = outlook(tracks((30.0, -0.5, 0.0, 0.5, 0.5), kind="traffic_cone"))
    origin = np.array([664_000.0, 3_998_000.0, 2.1])
    turn = np.array([[np.cos(2.1), np.sin(2.1)], [-np.sin(2.1), np.cos(2.1)]])

    def moved(xy: Floats) -> Floats:
        turned: Floats = xy @ turn + origin[:2]
        return turned

    boxes = road.tracks.boxes.copy()
    boxes[..., :3] = to_global(boxes[..., :3], origin)
    elsewhere = replace(
        road,
        ego=replace(road.ego, pose=to_global(road.ego.pose, origin)),
        polygons=tuple(replace(p, ring=moved(p.ring)) for p in road.polygons),
        centerline=to_global(road.centerline, origin),
        tracks=replace(road.tracks, boxes=boxes, velocities=road.tracks.velocities @ turn),
    )
    wanted = to_global(plan_reference(road), origin)
    np.testing.assert_allclose(plan_reference(elsewhere), wanted, rtol=0, atol=1e-6)


def test_an_impossible_scene_has_no_plan() -> None:
    road = replace(outlook(), centerline=np.zeros((1, 3)))
    with pytest.raises(DataError, match="`straight`: centerline has 1 distinct points"):
        plan_reference(road)


def test_arc_length_and_offset_lead_back_to_the_point() -> None:
    turn = np.linspace(0.0, 2.0, 200)
    arc = np.stack([50 * np.sin(turn), 50 * (1 - np.cos(turn)), turn], axis=-1)
    path = centre_path(np.repeat(arc, 2, axis=0))  # nodes that repeat the one before
    assert path.length == pytest.approx(100.0, abs=0.01)
    s = np.array([[5.0, 40.0], [77.0, 93.0]])
    offset = np.array([[1.0, -2.0], [0.3, -0.3]])
    found_s, found_offset = path.project(path.at(s, offset)[..., :2])
    np.testing.assert_allclose(found_s, s, atol=0.02)
    np.testing.assert_allclose(found_offset, offset, atol=0.01)
    # The centre of the arc lies to the left.
    assert path.project(np.array([0.0, 49.0]))[1] > 0
