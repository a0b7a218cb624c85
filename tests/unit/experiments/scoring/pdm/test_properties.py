"""What must not change a score does not, and what must, does."""

import dataclasses

import numpy as np
import pytest
import torch

from experiments.data.errors import DataError
from experiments.scoring.pdm import membership, score, score_scenes
from experiments.scoring.pdm.scene_json import parse
from experiments.scoring.pdm.tracking import track_of
from tests.unit.experiments.scoring.pdm import naive
from tests.unit.experiments.scoring.pdm.worlds import (
    dev_scenes,
    moved,
    rectangle,
    road,
    straight,
    varied,
)

VALUES = ("nc", "dac", "ep", "ttc", "comfort", "ddc", "pdms")


@pytest.fixture(scope="module")
def requests():
    return [parse(scene) for scene in dev_scenes()[::3]]


def values(scores):
    return np.stack([getattr(scores, name) for name in VALUES])


def test_where_on_earth_a_scene_is_does_not_matter(requests):
    draws = np.random.default_rng(0)
    for one in requests:
        plans = varied(one.plan, 4, seed=1)
        here = values(score(one.scene, plans))
        for size in (10.0, 1e6):
            shift = tuple(draws.uniform(-size, size, 2))
            there = moved(one.scene, draws.uniform(-np.pi, np.pi), shift)
            assert values(score(there, plans)) == pytest.approx(here, abs=1e-6)


def test_the_order_of_tracks_and_polygons_does_not_matter(requests):
    draws = np.random.default_rng(0)
    for one in requests:
        tracks = one.scene.tracks
        order = draws.permutation(len(tracks.tokens))
        mixed = dataclasses.replace(
            one.scene,
            polygons=one.scene.polygons[::-1],
            tracks=dataclasses.replace(
                tracks,
                tokens=tuple(tracks.tokens[i] for i in order),
                types=tuple(tracks.types[i] for i in order),
                boxes=tracks.boxes[order],
                velocities=tracks.velocities[order],
                present=tracks.present[order],
            ),
        )
        plans = varied(one.plan, 4, seed=2)
        assert np.array_equal(values(score(mixed, plans)), values(score(one.scene, plans)))


def test_a_crowd_of_plans_scores_as_each_alone(requests):
    compliance = []
    for one in requests[1:12:5]:
        plans = varied(one.plan, 700, seed=3)
        assert len(plans) * 41 * 6 > membership.GRID_POINTS
        crowd = values(score(one.scene, plans))
        alone = [values(score(one.scene, plan[None])) for plan in plans[::100]]
        assert crowd[:, ::100] == pytest.approx(np.concatenate(alone, axis=1), abs=1e-9)
        compliance.append(crowd[1].mean())
    assert 0.1 < np.mean(compliance) < 0.9  # some leave the road


def test_the_same_motion_in_finer_steps_scores_the_same(requests):
    one = requests[0]
    times, knots = 0.1 * np.arange(1, 41), 0.5 * np.arange(9)
    local = np.concatenate([np.zeros((1, 3)), one.plan])
    fine = np.stack([np.interp(times, knots, column) for column in local.T], axis=-1)
    coarse = values(score(one.scene, one.plan[None]))
    assert values(score(one.scene, fine[None], interval_s=0.1)) == pytest.approx(coarse, abs=1e-9)
    longer = np.concatenate([one.plan, one.plan[-1:] * 2])
    assert values(score(one.scene, longer[None])) == pytest.approx(coarse, abs=1e-9)


@pytest.mark.parametrize(
    ("plans", "interval_s", "message"),
    [
        (np.zeros((1, 7, 3)), 0.5, "7 poses x 0.5 s do not reach 4 s"),
        (np.zeros((8, 3)), 0.5, "plans have shape (8, 3)"),
        (np.zeros((0, 8, 3)), 0.5, "plans have shape (0, 8, 3)"),
        (np.zeros((1, 8, 3)), 0.0, "do not reach 4 s"),
        (np.stack([straight(5), straight(np.nan)]), 0.5, "plan 1 has a pose that is not finite"),
    ],
)
def test_plans_that_cannot_be_judged_are_refused(plans, interval_s, message):
    with pytest.raises(DataError, match="scene `road`") as refused:
        score(road(), plans, interval_s=interval_s)
    assert message in refused.value.message


def test_no_scenes_have_no_scores():
    assert score_scenes([], []) == []


def test_a_lead_car_farther_away_never_scores_less():
    scores = [
        score(road({"x": x, "y": 0.0, "vx": 7.0}), straight(10.0)[None]).pdms[0]
        for x in np.arange(8.0, 40.0, 2.0)
    ]
    assert np.all(np.diff(scores) >= 0)
    assert scores[0] == 0
    assert scores[-1] == 1


def test_faster_plans_get_farther_on_an_empty_road():
    plans = np.stack([straight(speed) for speed in np.arange(4.0, 10.5, 0.5)])
    scores = score(road(), plans)
    assert np.all(np.diff(scores.ep) > 0)
    assert scores.ep[-1] == pytest.approx(1)


def test_more_road_never_takes_compliance():
    turned = straight(8.0)
    turned[:, 1] = 0.6 * turned[:, 0]
    plans = varied(turned, 40, seed=4)
    small = score(road(), plans)
    park = (*road().polygons, rectangle("park", "carpark", (-10, 60), (5.25, 20)))
    large = score(road(polygons=park), plans)
    assert np.all(large.dac >= small.dac)
    assert large.dac.sum() > small.dac.sum()


def test_two_areas_that_share_an_edge_leave_no_gap_but_the_edge_itself():
    halves = (
        rectangle("a", "roadblock", (-50, 150), (-1.75, 1.1485)),
        rectangle("b", "roadblock", (-50, 150), (1.1485, 5.25)),
        rectangle("own", "lane", (-50, 150), (-1.75, 1.75)),
    )
    # The left corners of an ego in the middle run exactly along the edge, and are inside neither.
    assert score(road(polygons=halves), straight(10.0)[None]).dac == 0
    shifted = (rectangle("a", "roadblock", (-50, 150), (-1.75, 1.1)), *halves[2:])
    other = rectangle("b", "roadblock", (-50, 150), (1.1, 5.25))
    assert score(road(polygons=(*shifted, other)), straight(10.0)[None]).dac == 1


def test_a_lane_connector_alone_is_off_the_road():
    own = rectangle("own", "lane_connector", (-50, 150), (-1.75, 1.75))
    scores = score(road(polygons=(own,)), straight(10.0)[None])
    assert (scores.dac[0], scores.ddc[0], scores.ep[0], scores.pdms[0]) == (0, 1, 0, 0)


def test_a_track_that_appears_late_is_met_then_and_one_gone_is_not():
    plan = straight(10.0)[None]
    late = score(road({"x": 30.0, "y": 0.0, "from_step": 25}), plan)
    gone = score(road({"x": 30.0, "y": 0.0, "to_step": 10}), plan)
    passed = score(road({"x": 8.0, "y": 0.0, "from_step": 30}), plan)
    assert (late.nc[0], gone.nc[0], gone.ttc[0]) == (0, 1, 1)
    assert (passed.nc[0], passed.ttc[0]) == (1, 1)


def test_a_road_user_that_stood_at_first_counts_as_stopped_for_good():
    # It drives into the standing traffic from behind; only a stopped track makes that a fault.
    scene = road({"x": -12.0, "y": 0.0, "vx": 16.0})
    assert score(scene, straight(10.0)[None]).nc == 1
    velocities = scene.tracks.velocities.copy()
    velocities[0, 0] = 0.0
    stood = dataclasses.replace(scene.tracks, velocities=velocities)
    assert score(dataclasses.replace(scene, tracks=stood), straight(10.0)[None]).nc == 0


def test_a_contact_without_fault_excuses_the_track_for_the_rest():
    # Hit from behind and driven through: it is ahead when it leaves, but that does not count.
    through = {"x": -12.0, "y": 0.0, "vx": 16.0}
    assert score(road(through), straight(10.0)[None]).nc == 1
    # Seen only from when its centre is ahead and both still overlap, it is the ego's fault.
    assert score(road({**through, "from_step": 26}), straight(10.0)[None]).nc == 0


def test_an_ego_that_stands_is_at_no_fault():
    hit = road({"x": -12.0, "y": 0.0, "vx": 16.0}, speed_mps=0.0)
    standing = score(hit, straight(0.0)[None])
    assert (standing.nc[0], standing.ttc[0]) == (1, 1)


@pytest.mark.parametrize(("kind", "nc"), [("vehicle", 0.0), ("barrier", 0.5)])
def test_running_into_a_thing_costs_half(kind, nc):
    assert score(road({"x": 25.0, "y": 0.0, "type": kind}), straight(10.0)[None]).nc == nc


def test_a_side_contact_is_a_fault_only_across_lanes():
    # A car comes from the left into the side, at the height of the rear axle.
    side = {"x": 0.5, "y": 8.0, "vx": 10.0, "vy": -5.0, "size": (2.0, 2.0)}
    inside = score(road(side), straight(10.0)[None])
    narrow = (
        rectangle("block", "roadblock", (-50, 150), (-1.75, 5.25)),
        rectangle("own", "lane", (-50, 150), (-1.75, 1.0)),
        rectangle("next", "lane", (-50, 150), (1.0, 5.25)),
    )
    across = score(road(side, polygons=narrow), straight(10.0)[None])
    assert (inside.nc[0], across.nc[0]) == (1, 0)


def test_an_intersection_makes_crossing_traffic_count_for_the_time_left():
    # Beside the ego, where it is neither ahead nor behind.
    side = {"x": 0.5, "y": 8.0, "vx": 2.0, "vy": -5.0, "size": (2.0, 2.0)}
    crossing = (*road().polygons, rectangle("x", "intersection", (-50, 150), (-9, 9)))
    plan = straight(2.0)[None]
    assert score(road(side, speed_mps=2.0), plan).ttc == 1
    assert score(road(side, speed_mps=2.0, polygons=crossing), plan).ttc == 0


def test_against_traffic_compliance_is_lost_by_steps():
    lane = rectangle("oncoming", "lane", (-50, 150), (-1.75, 1.75))
    block = rectangle("block", "roadblock", (-50, 150), (-1.75, 5.25))
    wrong = road(polygons=(block, lane), speed_mps=0.0)
    slow = score(wrong, np.stack([straight(0.2), straight(2.5), straight(10.0)]))
    assert slow.ddc.tolist() == [1.0, 0.5, 0.0]


def test_the_published_speed_fit_is_the_default_and_the_meant_one_differs():
    poses = np.zeros((41, 3))
    poses[:, 0] = np.cumsum(np.random.default_rng(0).uniform(0, 1, 41))
    track = track_of(torch.from_numpy(poses)[:, None])
    expected, _ = naive.profiles(poses)
    assert track.speed[:, 0].numpy() == pytest.approx(expected, abs=1e-8)
    meant = track_of(torch.from_numpy(poses)[:, None], quirk=False)
    steady = torch.from_numpy(0.1 * np.arange(41)[:, None, None] * [[[3.0, 0, 0]]])
    assert not torch.allclose(meant.speed, track.speed, atol=1e-3)
    assert torch.allclose(track_of(steady, quirk=False).speed, torch.tensor(3.0).double())


def test_a_plan_that_stands_has_no_curvature_and_scores_are_numbers():
    plan = np.zeros((1, 8, 3))
    plan[:, :, 2] = 0.3  # turns on the spot
    scores = score(road(speed_mps=0.0), plan)
    assert np.isfinite(values(scores)).all()
    assert np.isfinite(scores.poses).all()


def test_nothing_is_computed_elsewhere_than_asked(requests):
    plans = varied(requests[5].plan, 400, seed=6)
    expected = values(score(requests[5].scene, plans))
    # A tensor made without saying where would have no values, and could not be mixed with others.
    with torch.device("meta"):
        assert np.array_equal(values(score(requests[5].scene, plans, device="cpu")), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_scores_as_the_cpu(requests):
    for one in requests:
        plans = varied(one.plan, 300, seed=5)
        here = score(one.scene, plans)
        for _ in range(3):  # plainly, recorded, replayed with what the scene before left
            there = score(one.scene, plans, device="cuda")
            assert values(there) == pytest.approx(values(here), abs=1e-9)
            assert there.poses == pytest.approx(here.poses, abs=1e-6)
