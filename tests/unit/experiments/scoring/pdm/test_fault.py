"""Who is to blame for a contact, at the bounds of each rule."""

import numpy as np
import pytest

from experiments.scoring.pdm import score
from tests.unit.experiments.scoring.pdm.worlds import rectangle, road, straight

NARROW = (
    rectangle("block", "roadblock", (-50, 150), (-1.75, 5.25)),
    rectangle("own", "lane", (-50, 150), (-1.75, 1.0)),
    rectangle("next", "lane", (-50, 150), (1.0, 5.25)),
)
"""Lanes that an ego in the middle of the road is not all inside of."""
CROSSING = (*road().polygons, rectangle("crossing", "intersection", (-50, 150), (-9, 9)))


def small(degrees, **more):
    """A small track within the ego's footprint at a bearing from its rear axle."""
    bearing = np.deg2rad(degrees)
    place = {"x": 0.9 * np.cos(bearing), "y": 0.9 * np.sin(bearing)}
    return {**place, "size": (0.2, 0.2), **more}


def creeping(scene_track, speed_mps=0.02, polygons=None):
    scene = road(scene_track, speed_mps=speed_mps, polygons=polygons)
    return score(scene, straight(speed_mps)[None])


@pytest.mark.parametrize(
    ("degrees", "ttc"), [(0, 0), (29, 0), (-29, 0), (31, 1), (90, 1), (180, 1)]
)
def test_time_left_counts_tracks_within_30_degrees_ahead(degrees, ttc):
    assert creeping(small(degrees)).ttc == ttc


@pytest.mark.parametrize(
    ("degrees", "ttc"), [(31, 0), (90, 0), (-149, 0), (149, 0), (151, 1), (180, 1)]
)
@pytest.mark.parametrize("polygons", [NARROW, CROSSING], ids=["across lanes", "in a crossing"])
def test_where_more_care_is_due_only_tracks_behind_are_excused(degrees, ttc, polygons):
    assert creeping(small(degrees), polygons=polygons).ttc == ttc


def test_an_ego_that_does_not_move_has_time_left():
    assert creeping(small(0), speed_mps=0.004).ttc == 1
    assert creeping(small(0), speed_mps=0.006).ttc == 0


def test_time_left_looks_nine_tenths_of_a_second_ahead():
    # The front is at 4.049 m and moves 4 m in 0.4 s; what is seen from then on is too late.
    plan, scores = straight(10.0)[None], []
    for way in (8.9, 9.1):
        thing = {"x": 4.049 + way + 0.1, "y": 0.0, "size": (0.2, 0.2), "to_step": 10}
        scores.append(float(score(road(thing), plan).ttc[0]))
    assert scores == [0, 1]


@pytest.mark.parametrize(("speed_mps", "nc"), [(0.04, 1), (0.06, 0.5)])
def test_an_ego_below_a_twentieth_of_a_metre_per_second_is_at_no_fault(speed_mps, nc):
    assert creeping(small(0, type="barrier"), speed_mps=speed_mps).nc == nc


@pytest.mark.parametrize(("speed_mps", "nc"), [(0.04, 0), (0.06, 1)])
def test_a_track_below_a_twentieth_of_a_metre_per_second_stands(speed_mps, nc):
    # Behind, a track that moves would be to blame itself.
    assert creeping(small(180, vx=speed_mps), speed_mps=1.0).nc == nc


@pytest.mark.parametrize(("degrees", "nc"), [(90, 0), (149, 0), (151, 1)])
def test_a_moving_track_at_the_side_is_a_fault_unless_it_is_behind(degrees, nc):
    assert creeping(small(degrees, vx=1.0), speed_mps=1.0, polygons=NARROW).nc == nc


def test_a_moving_track_at_the_front_bumper_is_always_a_fault():
    touched = {"x": 4.049, "y": 0.5, "vx": 1.0, "size": (0.2, 0.2), "to_step": 1}
    inside = {**touched, "x": 3.9}
    assert creeping(touched, speed_mps=1.0).nc == 0
    assert creeping(inside, speed_mps=1.0).nc == 1


def test_a_lane_that_holds_all_corners_makes_other_lanes_harmless():
    wide = (*NARROW, rectangle("wide", "lane_connector", (-50, 150), (-1.75, 5.25)))
    moving = small(90, vx=1.0)
    assert creeping(moving, speed_mps=1.0, polygons=NARROW).nc == 0
    assert creeping(moving, speed_mps=1.0, polygons=wide).nc == 1


def test_against_traffic_eleven_steps_count():
    block = rectangle("block", "roadblock", (-50, 150), (-1.75, 5.25))
    wrong = (block, rectangle("own", "lane", (-50, -10), (-1.75, 1.75)))
    steady = [
        score(road(polygons=wrong, speed_mps=v), straight(v)[None])
        for v in (1.81, 1.82, 5.45, 5.46)
    ]
    # 11 steps of 0.1 s: 1.991, 2.002, 5.995 and 6.006 m.
    assert [float(scores.ddc[0]) for scores in steady] == [1, 0.5, 0.5, 0]


def test_progress_is_compared_from_five_metres_on():
    short = np.zeros((41, 3))
    scene = road(speed_mps=1.0, reference=short)
    near, far = (
        score(scene, np.stack([straight(0.9), straight(0.1)])),
        score(road(), straight(2.0)[None]),
    )
    assert near.ep.tolist() == [1, 1]
    assert far.ep[0] < 0.5


def test_going_backwards_is_no_progress():
    scene = road(speed_mps=0.0)
    assert score(scene, -straight(4.0)[None]).ep == 0


def test_an_ego_that_slides_sideways_at_first_is_moving():
    scene = road(small(0, type="barrier"), speed_mps=0.0)
    scene.ego.velocity[1] = 1.0
    assert score(scene, straight(0.0)[None]).nc == 0.5


def test_a_sideways_acceleration_at_first_is_uncomfortable():
    scene = road()
    scene.ego.acceleration[1] = 60.0
    assert score(scene, straight(10.0)[None]).comfort == 0
    assert score(road(), straight(10.0)[None]).comfort == 1
