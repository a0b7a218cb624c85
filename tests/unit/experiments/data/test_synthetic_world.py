"""The generated world as a driver would judge it."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from experiments.data.frames import corners
from experiments.data.synthetic.actors import LOOKS_S, WALKING_SPEED, Actor, crossing_walker
from experiments.data.synthetic.junction import junction
from experiments.data.synthetic.motion import STEP_S, STEPS_PER_FRAME, Driver, Leader, Stop, drive
from experiments.data.synthetic.paths import Path, bend, join, line, turn
from experiments.data.synthetic.story import write_story
from experiments.data.synthetic.towns import TOWNS
from experiments.data.synthetic.weather import SUN, WEATHERS
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


def red_steps(world: World) -> np.ndarray:
    """Return for each step whether the ego's light is red."""
    light = world.story.light
    assert light is not None
    times = np.arange(len(world.story.ego.s)) * STEP_S
    return np.array([light.colour_at(time) == "red" for time in times])


def test_nobody_passes_a_red_light(worlds: list[World]) -> None:
    lights = [w for w in worlds if w.story.light is not None and red_steps(w).any()]
    assert len(lights) > 15
    assert {world.layout.kind for world in lights} >= {"junction", "curve"}
    for world in lights:
        light = world.story.light
        assert light is not None
        front = world.story.ego.s + FRONT_M
        passes = np.flatnonzero((front[1:] > light.s) & (front[:-1] <= light.s))
        assert not red_steps(world)[passes].any()


def test_some_lights_turn_red_as_the_ego_comes_and_it_stops_for_them(worlds: list[World]) -> None:
    turning = [w.story for w in worlds if w.story.light and len(w.story.light.phases) == 4]
    assert len(turning) > 6
    for story in turning:
        assert story.light is not None
        assert [colour for _, colour in story.light.phases] == ["green", "yellow", "red", "green"]
        assert story.ego.speed[: int(story.light.phases[1][0] / STEP_S)].min() > 1.0
    stopped = [
        story.ego.speed[int(since / STEP_S) : int(until / STEP_S)].min() < 0.5
        for story in turning
        if story.light is not None
        for (since, _), (until, _) in [story.light.phases[2:4]]
        if until < len(story.ego.s) * STEP_S
    ]
    assert np.mean(stopped) > 0.5


def test_towns_have_roads_of_their_own(worlds: list[World]) -> None:
    by_town: dict[str, list[World]] = {}
    for world in worlds:
        by_town.setdefault(world.layout.town.name, []).append(world)
    assert set(by_town) == {town.name for town in TOWNS}
    assert len({town.lane_m for town in TOWNS}) == len(TOWNS)
    usual = {
        name: np.mean([world.story.ego.speed.max() for world in group])
        for name, group in by_town.items()
    }
    assert max(usual, key=lambda name: usual[name]) == "synthetic-grid"
    assert min(usual, key=lambda name: usual[name]) == "synthetic-oldtown"


def test_all_weathers_occur_and_bad_ones_slow_the_expert_down(worlds: list[World]) -> None:
    names = [world.weather.name for world in worlds]
    assert set(names) == {weather.name for weather in WEATHERS}
    share = [world.story.ego.speed.max() / world.layout.town.limit for world in worlds]
    assert np.max([s for s, name in zip(share, names, strict=True) if name == "fog"]) < 0.87
    assert np.max(share) > 0.97


def test_chunks_of_a_drive_share_town_and_weather() -> None:
    config = SyntheticConfig(seed=1, num_logs=12, frames_per_log=16, logs_per_drive=3)
    drives = [[build_world(config, 3 * drive + n) for n in range(3)] for drive in range(4)]
    looks = [{(w.layout.town.name, w.weather.name) for w in drive} for drive in drives]
    assert all(len(look) == 1 for look in looks)
    assert len(set.union(*looks)) == 4


def distance_to(path: Path, poses: np.ndarray) -> np.ndarray:
    """Return the distance of each pose from a path."""
    line = shapely.LineString(path.xy())
    return np.asarray(shapely.distance(line, shapely.points(poses[:, :2])))


def test_the_expert_waits_until_a_walker_has_left_its_lane(worlds: list[World]) -> None:
    met = 0
    for world in worlds:
        ego = world.story.ego
        for actor in world.story.actors:
            if actor.kind != "pedestrian":
                continue
            if np.ptp(actor.poses[:, 2]) < 1.0:  # never turned to the road
                continue
            away = distance_to(world.layout.ego, actor.poses[::STEPS_PER_FRAME])
            on_lane = np.flatnonzero(away < 1.0) * STEPS_PER_FRAME
            if len(on_lane) == 0:
                continue
            met += 1
            nodes = np.hypot(*(world.layout.ego.xy() - actor.poses[on_lane[0], :2]).T)
            place = world.layout.ego.s[np.argmin(nodes)]
            before = ego.s[on_lane[0]] + FRONT_M < place
            assert not before or ego.s[on_lane[-1]] + FRONT_M < place
    assert met > 15


def test_cars_that_cut_in_blink_first_and_the_expert_drops_back(worlds: list[World]) -> None:
    seen = 0
    for world in worlds:
        for actor in world.story.actors:
            if not actor.blinks.any():
                continue
            seen += 1
            begins = int(np.flatnonzero(actor.blinks)[0])
            path = world.layout.ego
            off = distance_to(path, actor.poses)
            assert off[begins] > 1.5
            assert off[min(begins + 45, len(off) - 1)] < 0.4
            assert np.abs(np.diff(off[:begins])).max(initial=0.0) < 0.1
    assert seen >= 4


def test_a_red_light_that_is_seen_late_is_still_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.data.synthetic.junction._FIRST_SIGHT_M", (24.0, 25.0))
    told = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        layout = junction(rng, TOWNS[1], "straight", 150.0)
        story = write_story(rng, layout, SUN, 116, plot=0.6)
        if story is None:
            continue
        told += 1
        assert story.light is not None
        assert layout.crossing is not None
        closed = story.ego.s[: int(story.light.phases[1][0] / STEP_S)]
        assert closed.max() + FRONT_M < layout.crossing.enters_s - 4.0
    assert told > 2


def test_a_pedestrian_waits_at_the_kerb_and_then_crosses() -> None:
    start = np.array([5.0, -6.0, np.pi / 2])
    person = crossing_walker(np.random.default_rng(0), start, 9.0, begins_s=2.0, num_steps=150)
    standing = slice(int((2.0 - LOOKS_S) / STEP_S) + 1, 20)
    np.testing.assert_allclose(person.poses[:20, 1], -6.0)
    np.testing.assert_allclose(person.poses[standing, 0], 5.0)
    assert person.poses[0, 0] != pytest.approx(5.0, abs=0.5)
    np.testing.assert_allclose(person.poses[-1, :2], [5.0, 3.0])
    walking = person.speed[20:] > 0
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
    behind = drive(
        road, Driver(0.0, 11.0, ((0.0, 12.0),), 4.0, 1.0), 200, leaders=(Leader(ahead, slow.rear),)
    )
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
