"""The generated world as a driver would judge it."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from experiments.data.frames import corners
from experiments.data.synthetic.actors import WALKING_SPEED, Actor, crossing_walker
from experiments.data.synthetic.junction import junction
from experiments.data.synthetic.motion import STEP_S, STEPS_PER_FRAME, Driver, Stop, drive
from experiments.data.synthetic.paths import bend, join, line, turn
from experiments.data.synthetic.story import write_story
from experiments.data.synthetic.world import World, build_world
from experiments.data.vehicle import FRONT_M, footprints
from experiments.settings import SyntheticConfig

CONFIG = SyntheticConfig(seed=11, num_logs=20)


@pytest.fixture(scope="module")
def worlds() -> list[World]:
    """Twenty drives in each of four worlds."""
    configs = [SyntheticConfig(seed=seed, num_logs=20) for seed in range(4)]
    return [build_world(config, number) for config in configs for number in range(20)]


def test_all_kinds_of_road_and_command_occur_in_each_world(worlds: list[World]) -> None:
    for first in range(0, len(worlds), 20):
        layouts = [world.layout for world in worlds[first : first + 20]]
        assert {(layout.kind, layout.command) for layout in layouts} == {
            ("straight", "straight"),
            ("curve", "straight"),
            ("junction", "left"),
            ("junction", "straight"),
            ("junction", "right"),
        }


def outlines(actor: Actor) -> np.ndarray:
    size = np.broadcast_to(actor.size[:2], (len(actor.poses), 2))
    boxes = np.concatenate([actor.poses[:, :2], size, actor.poses[:, 2:]], axis=1)
    return np.asarray(shapely.polygons(corners(boxes)))


def test_no_two_things_are_in_the_same_place(worlds: list[World]) -> None:
    for world in worlds:
        shapes = np.stack([outlines(actor)[::STEPS_PER_FRAME] for actor in world.story.actors])
        for frame in shapes.T:
            first, second = shapely.STRtree(frame).query(frame, predicate="intersects")
            assert (first == second).all()


def test_the_expert_keeps_clear_of_everything_and_on_the_road(worlds: list[World]) -> None:
    for world in worlds:
        own = shapely.polygons(footprints(world.layout.ego.at(world.story.ego.s)))
        for actor in world.story.actors:
            assert shapely.distance(outlines(actor), own).min() >= 0.25
        assert shapely.covers(world.layout.drivable, own).all()


def test_the_expert_drives_comfortably(worlds: list[World]) -> None:
    for world in worlds:
        ego, path = world.story.ego, world.layout.ego
        jerk = np.diff(ego.acceleration) / STEP_S
        moving = ego.speed[1:] > 0.5
        assert np.abs(jerk[moving]).max() < 4.13
        assert ego.acceleration[1:][moving].min() > -4.05
        assert ego.acceleration.max() < 2.40
        assert (ego.speed**2 * np.abs(path.curvature_at(ego.s))).max() < 4.89
        assert (ego.speed * np.abs(path.curvature_at(ego.s))).max() < 0.95


def test_speed_and_place_agree(worlds: list[World]) -> None:
    for world in worlds:
        ego = world.story.ego
        np.testing.assert_allclose(np.gradient(ego.s, STEP_S)[1:-1], ego.speed[1:-1], atol=0.3)
        assert ego.speed.min() >= 0.0
        assert np.diff(ego.s).min() >= 0.0


def test_speeds_differ_between_drives(worlds: list[World]) -> None:
    first = [world.story.ego.speed[0] for world in worlds]
    assert np.std(first) > 1.0


def test_nobody_passes_a_red_light(worlds: list[World]) -> None:
    lights = [world for world in worlds if world.story.red_until_s]
    assert len(lights) > 8
    for world in lights:
        crossing, red_until_s = world.layout.crossing, world.story.red_until_s
        assert crossing is not None
        assert red_until_s is not None
        steps = int(red_until_s / STEP_S)
        assert world.story.ego.s[:steps].max() + FRONT_M < crossing.enters_s


def test_a_red_light_that_is_seen_late_is_still_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.data.synthetic.junction._FIRST_SIGHT_M", (12.0, 13.0))
    for seed in range(8):
        rng = np.random.default_rng(seed)
        layout = junction(rng, "straight", 150.0)
        story = write_story(rng, layout, 116, plot=0.6)
        if story is None:
            continue
        assert story.red_until_s is not None
        assert layout.crossing is not None
        closed = story.ego.s[: int(story.red_until_s / STEP_S)]
        assert closed.max() + FRONT_M < layout.crossing.enters_s - 4.0


def test_a_pedestrian_waits_at_the_kerb_and_then_crosses() -> None:
    start = np.array([5.0, -6.0, np.pi / 2])
    person = crossing_walker(np.random.default_rng(0), start, 9.0, begins_s=2.0, num_steps=150)
    np.testing.assert_allclose(person.poses[:20, 1], -6.0)
    np.testing.assert_allclose(person.poses[-1, :2], [5.0, 3.0])
    walking = person.speed > 0
    assert walking.sum() * STEP_S * WALKING_SPEED == pytest.approx(9.0, abs=0.2)


def test_long_and_short_drives_can_be_had() -> None:
    for frames in (2, 14, 60):
        config = SyntheticConfig(seed=1, num_logs=6, frames_per_log=frames)
        for number in range(6):
            world = build_world(config, number)
            assert len(world.story.ego.s) == 5 * (frames - 1) + 1


def test_the_same_number_gives_the_same_world() -> None:
    one, two = build_world(CONFIG, 5), build_world(CONFIG, 5)
    np.testing.assert_array_equal(one.story.ego.s, two.story.ego.s)
    assert len(one.story.actors) == len(two.story.actors)


def test_seeds_give_other_worlds() -> None:
    other = SyntheticConfig(seed=12, num_logs=24)
    starts = [build_world(config, 5).story.ego.speed[0] for config in (CONFIG, other)]
    assert starts[0] != starts[1]


def test_a_turn_ends_on_the_other_tangent() -> None:
    path = turn(np.zeros(3), np.pi / 2, 10.0)
    np.testing.assert_allclose(
        [path.x[-1], path.y[-1], path.heading[-1]], [10, 10, np.pi / 2], atol=0.02
    )


def test_offset_paths_keep_their_distance() -> None:
    path = join(line(np.zeros(3), 20.0), bend(np.array([20.0, 0.0, 0.0]), 1.0, 20.0))
    left = path.offset(3.5)
    np.testing.assert_allclose(np.hypot(left.x - path.x, left.y - path.y), 3.5)
    chords = np.hypot(np.diff(left.x), np.diff(left.y))
    np.testing.assert_allclose(np.diff(left.s), chords, rtol=1e-3)
    assert left.length < path.length


def test_a_reversed_path_runs_the_other_way() -> None:
    path = bend(np.zeros(3), 1.0, 20.0)
    back = path.reversed()
    np.testing.assert_allclose(back.at(0.0)[:2], path.at(path.length)[:2])
    steps = np.diff(back.xy(), axis=0)
    ways = np.stack([np.cos(back.heading[:-1]), np.sin(back.heading[:-1])], axis=-1)
    assert (steps * ways).sum(axis=1).min() > 0


def test_a_car_stops_at_a_closed_line_and_goes_on_when_it_opens() -> None:
    road = line(np.zeros(3), 300.0)
    driver = Driver(0.0, 9.0, ((0.0, 9.0),), front=4.0, rear=1.0)
    motion = drive(road, driver, 200, stops=(Stop(60.0, 12.0),))
    closed = motion.s[: int(12.0 / STEP_S)] + 4.0
    assert 55.0 < closed.max() < 60.0
    assert motion.speed[int(11.0 / STEP_S)] < 0.3
    assert motion.s[-1] > 70.0


def test_a_car_behind_a_slower_one_keeps_its_distance() -> None:
    road = line(np.zeros(3), 500.0)
    slow = Driver(30.0, 5.0, ((0.0, 5.0), (6.0, 0.0)), front=2.0, rear=2.0)
    ahead = drive(road, slow, 200)
    behind = drive(road, Driver(0.0, 11.0, ((0.0, 12.0),), 4.0, 1.0), 200, leader=(ahead, slow))
    gaps = ahead.s - 2.0 - behind.s - 4.0
    assert gaps.min() > 1.0
    assert behind.speed[-1] < 0.3


def test_a_car_slows_before_a_curve() -> None:
    straight = line(np.zeros(3), 80.0)
    road = join(straight, bend(straight.at(80.0), np.pi / 2, 12.0))
    motion = drive(road, Driver(0.0, 12.0, ((0.0, 12.0),), 4.0, 1.0), 10 * STEPS_PER_FRAME * 3)
    lateral = motion.speed**2 * np.abs(road.curvature_at(motion.s))
    assert motion.speed[0] > 11.0
    assert lateral.max() < 3.0
