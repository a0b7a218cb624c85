"""Untidy scenes: as the slow way scores them, and alike however they are written down."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from experiments.data.vehicle import WIDTH_M
from experiments.scoring.pdm import Scores, score
from experiments.scoring.pdm.scene import SceneMetrics
from tests.unit.experiments.scoring.pdm import naive
from tests.unit.experiments.scoring.pdm.test_parity import both
from tests.unit.experiments.scoring.pdm.wild import KINDS, wild_plans, wild_scene, with_tracks
from tests.unit.experiments.scoring.pdm.worlds import Floats, moved, rectangle, road, straight

VALUES = ("nc", "dac", "ep", "ttc", "comfort", "ddc", "pdms")
ALL = [(kind, seed) for kind in KINDS for seed in range(5)]


@dataclasses.dataclass
class _Asked:
    scene: SceneMetrics


def values(scores: Scores) -> Floats:
    return np.stack([getattr(scores, name) for name in VALUES])


def many() -> list[tuple[SceneMetrics, Floats]]:
    found = [(wild_scene(seed, kind), kind) for kind, seed in ALL]
    return [(scene, wild_plans(scene, kind, 8)) for scene, kind in found]


@pytest.mark.parametrize("kind", KINDS)
def test_untidy_scenes_score_as_the_slow_way_scores_them(kind: str) -> None:
    for seed in range(5):
        scene = wild_scene(seed, kind, place_m=100.0)
        plans = wild_plans(scene, kind, 2)
        scores = score(scene, plans)
        for row, plan in enumerate(plans):
            states = [naive.drive(scene, poses) for poses in both(_Asked(scene), plan)]
            expected = naive.score(scene, states)
            got = {name: float(getattr(scores, name)[row]) for name in VALUES}
            assert got == pytest.approx({name: expected[name] for name in VALUES}, abs=1e-9), seed


def test_the_scenes_are_neither_all_good_nor_all_bad() -> None:
    every = np.concatenate([values(score(scene, plans)) for scene, plans in many()], axis=1)
    shares = every.mean(axis=1)
    for name, share in zip(VALUES, shares, strict=True):
        assert 0.05 < share < 0.99, name


def test_a_million_metres_from_the_origin_nothing_changes() -> None:
    draws = np.random.default_rng(0)
    for scene, plans in many():
        here = values(score(moved(scene, 0.0, tuple(-scene.ego.pose[:2])), plans))
        shift = tuple(draws.choice([-1e6, 1e6], 2) + draws.uniform(-1, 1, 2))
        there = values(score(moved(scene, draws.uniform(-np.pi, np.pi), shift), plans))
        assert there == pytest.approx(here, abs=1e-6), scene.token


def test_rings_may_start_anywhere_and_run_either_way() -> None:
    draws = np.random.default_rng(1)
    for scene, plans in many():
        polygons = [
            dataclasses.replace(
                polygon,
                ring=np.roll(polygon.ring, int(draws.integers(len(polygon.ring))), axis=0)[
                    :: int(draws.choice([-1, 1]))
                ].copy(),
            )
            for polygon in scene.polygons
        ]
        order = draws.permutation(len(polygons))
        written = dataclasses.replace(scene, polygons=tuple(polygons[i] for i in order))
        assert np.array_equal(values(score(written, plans)), values(score(scene, plans)))


def test_a_corner_that_comes_twice_in_a_row_changes_nothing() -> None:
    for scene, plans in many()[::4]:
        doubled = tuple(
            dataclasses.replace(polygon, ring=np.repeat(polygon.ring, 2, axis=0))
            for polygon in scene.polygons
        )
        again = score(dataclasses.replace(scene, polygons=doubled), plans)
        assert np.array_equal(values(again), values(score(scene, plans)))


def test_the_same_area_twice_changes_nothing_but_who_straddles_lanes() -> None:
    for scene, plans in many():
        areas = [p for p in scene.polygons if p.layer not in ("lane", "lane_connector")]
        twice = tuple(dataclasses.replace(p, id=f"{p.id} again") for p in areas)
        again = score(dataclasses.replace(scene, polygons=(*scene.polygons, *twice)), plans)
        assert np.array_equal(values(again), values(score(scene, plans)))


def test_each_track_twice_and_in_any_order_scores_as_once() -> None:
    draws = np.random.default_rng(2)
    for scene, plans in many():
        count = len(scene.tracks.tokens)
        rows = draws.permutation(np.repeat(np.arange(count), 2))
        again = score(with_tracks(scene, rows), plans)
        assert np.array_equal(values(again), values(score(scene, plans)))


def test_one_more_track_never_makes_a_plan_safer() -> None:
    for scene, plans in many():
        most = len(scene.tracks.tokens)
        scores = [
            score(with_tracks(scene, np.arange(count)), plans)
            for count in sorted({0, most // 2, max(most - 1, 0), most})
        ]
        for name in ("nc", "ttc"):
            levels = np.stack([getattr(one, name) for one in scores])
            assert (np.diff(levels, axis=0) <= 0).all(), scene.token
        for name in ("dac", "comfort", "ddc"):
            levels = np.stack([getattr(one, name) for one in scores])
            assert (levels == levels[0]).all(), scene.token


def test_a_track_that_vanishes_earlier_never_makes_a_plan_less_safe() -> None:
    for scene, plans in many()[::2]:
        if not scene.tracks.tokens:
            continue
        before = score(scene, plans)
        first = scene.tracks.present.argmax(axis=1)
        ends = np.arange(51)[None] <= np.maximum(first, 12)[:, None]
        gone = with_tracks(scene, np.arange(len(first)), present=scene.tracks.present & ends)
        after = score(gone, plans)
        assert (after.nc >= before.nc).all()
        assert (after.ttc >= before.ttc).all()


def test_what_stands_where_a_track_is_absent_is_never_read() -> None:
    for scene, plans in many()[::3]:
        tracks = scene.tracks
        boxes, velocities = tracks.boxes.copy(), tracks.velocities.copy()
        away = ~tracks.present
        # In the middle of the ego, huge and fast.
        boxes[away] = [*scene.ego.pose, 50.0, 50.0]
        velocities[away] = 30.0
        filled = dataclasses.replace(
            scene, tracks=dataclasses.replace(tracks, boxes=boxes, velocities=velocities)
        )
        assert np.array_equal(values(score(filled, plans)), values(score(scene, plans)))


def test_an_ego_that_stands_and_stays_hits_nobody_and_is_comfortable() -> None:
    for seed in range(8):
        scores = score(wild_scene(seed, "zeros"), np.zeros((1, 8, 3)))
        assert (scores.nc[0], scores.ttc[0], scores.comfort[0], scores.ddc[0]) == (1, 1, 1, 1)
        assert np.abs(np.diff(scores.poses, axis=1)).max() < 1e-6


@pytest.mark.parametrize("shift", [(0.0, 0.0), (1e6 + 0.37, -1e6 - 0.61), (3.3e5, 4.7e6)])
@pytest.mark.parametrize(("room_m", "dac"), [(0.01, 1), (-0.01, 0)])
def test_a_centimetre_counts_wherever_on_earth(
    shift: tuple[float, float], room_m: float, dac: int
) -> None:
    side = WIDTH_M / 2 + room_m
    narrow = (
        rectangle("block", "roadblock", (-50, 150), (-side, side)),
        rectangle("own", "lane", (-50, 150), (-side, side)),
    )
    there = moved(road(polygons=narrow), 0.0, shift)
    assert score(there, straight(10.0)[None]).dac == dac


@pytest.mark.parametrize("shift", [(0.0, 0.0), (1e6 + 0.37, -1e6 - 0.61)])
@pytest.mark.parametrize(("gap_m", "nc"), [(0.01, 1), (-0.01, 0)])
def test_a_car_is_passed_by_a_centimetre_or_touched(
    shift: tuple[float, float], gap_m: float, nc: int
) -> None:
    # It stands beside the lane; a stopped car that is touched is the fault of the ego.
    beside = {"x": 25.0, "y": WIDTH_M / 2 + 1.0 + gap_m}
    assert score(moved(road(beside), 0.0, shift), straight(10.0)[None]).nc == nc


def test_whether_a_late_track_stood_is_asked_when_it_appears() -> None:
    plan = straight(10.0)[None]
    scene = road({"x": -12.0, "y": 0.0, "vx": 16.0, "from_step": 5})
    assert score(scene, plan).nc == 1
    for step, nc in ((0, 1), (5, 0), (6, 1)):
        velocities = scene.tracks.velocities.copy()
        velocities[0, step] = 0.0
        tracks = dataclasses.replace(scene.tracks, velocities=velocities)
        assert score(dataclasses.replace(scene, tracks=tracks), plan).nc == nc
