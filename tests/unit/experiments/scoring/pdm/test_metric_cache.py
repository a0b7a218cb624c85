"""Metric caches that NAVSIM v1.1 has written: scenes out of them, and nothing else."""

from __future__ import annotations

import gzip
import json
import lzma
import os
import pickle
import pickletools
import shutil
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import shapely

from experiments.data.errors import DataError
from experiments.scoring.pdm import metric_cache_pickle
from experiments.scoring.pdm.metric_cache import read_metric_cache
from experiments.scoring.pdm.metric_cache_pickle import StandIn, read_pickle
from experiments.scoring.pdm.scene import TRACK_TYPES
from experiments.scoring.pdm.scene_json import parse
from experiments.scoring.pdm.score import score

GOLDEN = Path(__file__).parents[4] / "golden" / "metric_cache"
CROWDED = "0000000000001392"
"""Its scene has a vehicle and a traffic cone."""
TOKENS = ["000000000000138a", "0000000000001391", CROWDED]
Edit = Callable[[StandIn], object]


def golden(token: str) -> Path:
    (path,) = GOLDEN.glob(f"*/*/{token}/metric_cache.pkl")
    return path


class _Writer(pickle.Pickler):
    """Writes stand-ins as what they stand for."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, StandIn):
            return _original(type(obj).__name__), obj.args, obj.state or None
        return NotImplemented


def _original(name: str) -> type:
    (module,) = (m for m, n in metric_cache_pickle._CLASSES if n == name)
    return getattr(sys.modules[module], name)  # type: ignore[no-any-return]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write an edited copy of a golden cache, with classes of the names that the devkit has."""
    for module, name in metric_cache_pickle._CLASSES:
        if module != "pathlib":
            parts = module.split(".")
            for whole in (".".join(parts[:n]) for n in range(1, len(parts) + 1)):
                if whole not in sys.modules:
                    monkeypatch.setitem(sys.modules, whole, ModuleType(whole))
            made = type(name, (), {"__module__": module})
            monkeypatch.setattr(sys.modules[module], name, made, raising=False)

    def edited(edit: Edit = lambda cache: None, token: str = CROWDED) -> Path:
        cache = read_pickle(golden(token))
        edit(cache)
        content = BytesIO()
        _Writer(content, protocol=5).dump(cache)
        path = tmp_path / "log" / "unknown" / token / "metric_cache.pkl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(lzma.compress(content.getvalue(), preset=0))
        return path

    return edited


def maps(cache: StandIn) -> list[StandIn]:
    found: list[StandIn] = cache.state["observation"].state["_occupancy_maps"]
    return found


def in_json() -> dict[str, dict[str, Any]]:
    """The same scenes as JSON, with a plan and what the official code made of it."""
    values = json.loads(gzip.decompress((GOLDEN.parent / "pdm_dev_scenes.json.gz").read_bytes()))
    return {f"{value['id']:016x}": value for value in values}


@pytest.mark.parametrize("token", TOKENS)
def test_a_cache_holds_the_scene_that_its_json_says(token: str) -> None:
    """All but the order of tracks, which the devkit sorts by type."""
    ours, theirs = read_metric_cache(golden(token)), parse(in_json()[token]).scene
    assert ours.token == token
    np.testing.assert_allclose(ours.ego.pose, theirs.ego.pose, rtol=0, atol=1e-9)
    assert np.array_equal(ours.ego.velocity, theirs.ego.velocity)
    assert np.array_equal(ours.ego.acceleration, theirs.ego.acceleration)
    assert ours.ego.steering_angle == theirs.ego.steering_angle != 0.0
    assert [(p.id, p.layer) for p in ours.polygons] == [(p.id, p.layer) for p in theirs.polygons]
    for mine, other in zip(ours.polygons, theirs.polygons, strict=True):
        assert np.array_equal(mine.ring, other.ring)
    assert ours.route_lane_ids == theirs.route_lane_ids
    assert np.array_equal(ours.centerline, theirs.centerline)
    np.testing.assert_allclose(ours.reference, theirs.reference, rtol=0, atol=1e-9)
    order = [ours.tracks.tokens.index(name) for name in theirs.tracks.tokens]
    assert sorted(order) == list(range(len(ours.tracks.tokens)))
    assert tuple(ours.tracks.types[row] for row in order) == theirs.tracks.types
    np.testing.assert_allclose(ours.tracks.boxes[order], theirs.tracks.boxes, rtol=0, atol=1e-9)
    assert np.array_equal(ours.tracks.velocities[order], theirs.tracks.velocities)
    assert ours.tracks.present.all()


@pytest.mark.parametrize("token", TOKENS)
def test_scores_from_a_cache_are_the_official_ones(token: str) -> None:
    entry = in_json()[token]
    found = score(read_metric_cache(golden(token)), [entry["plan"]])
    official = entry["official"]
    for name in ("nc", "dac", "ep", "ttc", "comfort", "ddc", "pdms"):
        assert getattr(found, name)[0] == pytest.approx(official[name], abs=1e-6), name
    np.testing.assert_allclose(found.poses[0, 40], official["final_pose"], rtol=0, atol=1e-6)


def test_no_module_of_the_devkit_is_imported() -> None:
    read_metric_cache(golden(CROWDED))
    assert not [name for name in sys.modules if name.split(".")[0] in ("navsim", "nuplan")]


class _Runs:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_would_run_code_is_refused_by_name(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    def hide(cache: StandIn) -> None:
        cache.state["observation"].state["extra"] = _Runs(tmp_path / "made")

    with pytest.raises(DataError, match=r"refers to `(posix|nt)\.mkdir`"):
        read_metric_cache(write(hide))
    assert not (tmp_path / "made").exists()


def test_a_geometry_is_read_from_nothing_but_bytes(write: Callable[..., Path]) -> None:
    class Lies:
        def __reduce__(self) -> Any:
            return shapely.from_wkb, (["0101"],)

    def lie(cache: StandIn) -> None:
        cache.state["centerline"].state["line"] = Lies()

    with pytest.raises(DataError, match="a geometry is a list"):
        read_metric_cache(write(lie))


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_torn_file_is_named(tmp_path: Path, share: float) -> None:
    content = golden(CROWDED).read_bytes()
    path = tmp_path / "metric_cache.pkl"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match=r"metric_cache\.pkl` is torn or no metric cache"):
        read_metric_cache(path)


def test_a_pickle_of_something_else_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metric_cache.pkl"
    path.write_bytes(lzma.compress(pickle.dumps({"token": 1})))
    with pytest.raises(DataError, match="holds a dict, not a MetricCache"):
        read_metric_cache(path)


def test_a_file_that_unpacks_without_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metric_cache_pickle, "_MOST_BYTES", 1000)
    path = tmp_path / "metric_cache.pkl"
    path.write_bytes(lzma.compress(bytes(5000)))
    with pytest.raises(DataError, match="more than 1000 bytes"):
        read_metric_cache(path)


def test_a_cache_in_the_folder_of_another_scene_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log" / "type" / "ffffffffffffffff" / "metric_cache.pkl"
    path.parent.mkdir(parents=True)
    shutil.copy(golden(CROWDED), path)
    with pytest.raises(DataError, match=f"{CROWDED}.* not for the token `ffffffffffffffff`"):
        read_metric_cache(path)


def test_the_path_may_have_been_kept_as_a_path(write: Callable[..., Path]) -> None:
    """NAVSIM's own scripts do so; the golden files have text."""

    def as_path(*parts: str) -> Edit:
        kept = metric_cache_pickle._CLASSES["pathlib", "PosixPath"]
        return lambda cache: cache.state.update(file_path=kept("/", *parts, "metric_cache.pkl"))

    assert read_metric_cache(write(as_path("cache", CROWDED))).token == CROWDED
    with pytest.raises(DataError, match="not for the token"):
        read_metric_cache(write(as_path("cache", "0000")))


def test_a_cache_of_the_older_numpy_is_read_without_a_warning(tmp_path: Path) -> None:
    """The devkit pins numpy 1.23, whose pickles name modules that numpy 2 has renamed."""
    content = lzma.decompress(golden(CROWDED).read_bytes())
    steps = [(op.name, arg, pos) for op, arg, pos in pickletools.genops(content)]
    ends = [*(pos for _, _, pos in steps[1:]), len(content)]
    parts = []
    for (name, arg, pos), end in zip(steps, ends, strict=True):
        part = content[pos:end]
        if isinstance(arg, str) and arg.startswith("numpy._core."):
            part = part.replace(b"numpy._core.", b"numpy.core.")
            part = part[:1] + bytes([part[1] - 1]) + part[2:]
        if name != "FRAME":  # they say how long the part after them is
            parts.append(part)
    path = tmp_path / CROWDED / "metric_cache.pkl"
    path.parent.mkdir()
    path.write_bytes(lzma.compress(b"".join(parts)))
    assert b"numpy.core.numeric" in b"".join(parts)
    found, wanted = read_metric_cache(path), read_metric_cache(golden(CROWDED))
    assert np.array_equal(found.ego.pose, wanted.ego.pose)
    assert np.array_equal(found.centerline, wanted.centerline)


def test_the_rear_axle_is_found_where_only_the_centre_was_kept(write: Callable[..., Path]) -> None:
    def forget(cache: StandIn) -> None:
        del cache.state["ego_state"].state["_car_footprint"].state["rear_axle"]

    whole, derived = read_metric_cache(golden(CROWDED)), read_metric_cache(write(forget))
    np.testing.assert_allclose(derived.ego.pose, whole.ego.pose, rtol=0, atol=1e-9)


def test_a_track_is_present_only_where_it_is_mapped(write: Callable[..., Path]) -> None:
    def late(cache: StandIn) -> None:
        for step, occupancy in enumerate(maps(cache)):
            names, outlines, _ = occupancy.args
            keep = [n for n, name in enumerate(names) if step >= 7 or name != names[0]]
            shown = [names[n] for n in keep], [outlines[n] for n in keep]
            occupancy.args = (*shown, 10)

    tracks = read_metric_cache(write(late)).tracks
    assert tracks.present.sum(axis=1).tolist() == [44, 51]
    assert not tracks.present[0, :7].any()


@pytest.mark.parametrize(
    ("code", "layer"),
    [
        (0, "lane"),
        (1, "intersection"),
        (5, "drivable_area"),
        (11, "lane_connector"),
        (15, "carpark"),
        (17, "roadblock"),
    ],
)
def test_layers_have_the_numbers_of_nuplan(
    write: Callable[..., Path], code: int, layer: str
) -> None:
    def relabel(cache: StandIn) -> None:
        cache.state["drivable_area_map"].args[1][0].args = (code,)

    assert read_metric_cache(write(relabel)).polygons[0].layer == layer


@pytest.mark.parametrize(("code", "kind"), list(enumerate(TRACK_TYPES)))
def test_types_have_the_numbers_of_nuplan(write: Callable[..., Path], code: int, kind: str) -> None:
    def relabel(cache: StandIn) -> None:
        first = next(iter(cache.state["observation"].state["_unique_objects"].values()))
        first.state["_tracked_object_type"].args = (code,)

    assert read_metric_cache(write(relabel)).tracks.types[0] == kind


def test_red_lights_among_the_tracks_are_left_out(write: Callable[..., Path]) -> None:
    def light(cache: StandIn) -> None:
        for occupancy in maps(cache):
            names, outlines, _ = occupancy.args
            area = shapely.box(0, 0, 3, 9)
            occupancy.args = ([*names, "red_light_conn0"], [*outlines, area], 10)

    assert len(read_metric_cache(write(light)).tracks.tokens) == 2


def test_instants_between_the_reference_states_are_interpolated(
    write: Callable[..., Path],
) -> None:
    """At time stamps of the real data, whose microseconds a float of seconds does not resolve."""
    start_us = 1_629_819_345_123_457

    def real_times(cache: StandIn) -> None:
        for state in cache.state["trajectory"].args[0]:
            state.state["_time_point"].state["time_us"] += start_us

    zero, real = read_metric_cache(golden(CROWDED)), read_metric_cache(write(real_times))
    # One microsecond of cut-off at 13 m/s.
    np.testing.assert_allclose(real.reference, zero.reference, rtol=0, atol=2e-5)
    steps = np.hypot(*np.diff(zero.reference[:, :2], axis=0).T)
    np.testing.assert_allclose(steps[:5], steps[0], rtol=1e-9)


def _drop(*names: str) -> Edit:
    def edit(cache: StandIn) -> None:
        thing = cache
        for name in names[:-1]:
            thing = thing.state[name]
        del thing.state[names[-1]]

    return edit


def _set(value: object, *names: str) -> Edit:
    def edit(cache: StandIn) -> None:
        thing = cache
        for name in names[:-1]:
            thing = thing.state[name]
        thing.state[names[-1]] = value

    return edit


def _other_vehicle(cache: StandIn) -> None:
    parameters = cache.state["ego_state"].state["_car_footprint"].state["_vehicle_parameters"]
    parameters.args = (1.9, *parameters.args[1:])


def _short_plan(cache: StandIn) -> None:
    cache.state["trajectory"].args = (cache.state["trajectory"].args[0][:5],)


def _stretched(cache: StandIn) -> None:
    names, outlines, _ = maps(cache)[4].args
    grown = [shapely.affinity.scale(outlines[0], 1.2, 1.2), *outlines[1:]]
    maps(cache)[4].args = (names, grown, 10)


def _stranger(cache: StandIn) -> None:
    names, outlines, _ = maps(cache)[3].args
    maps(cache)[3].args = ([*names, "tr9"], [*outlines, outlines[0]], 10)


def _holed(cache: StandIn) -> None:
    area = cache.state["drivable_area_map"]
    hole = shapely.Polygon([(0, 0), (9, 0), (9, 9)], [[(5, 2), (6, 2), (6, 3)]])
    area.args = (area.args[0], area.args[1], [hole, *area.args[2][1:]], 10)


def _unknown_layer(cache: StandIn) -> None:
    cache.state["drivable_area_map"].args[1][0].args = (4,)


def _number_for_an_id(cache: StandIn) -> None:
    cache.state["route_lane_ids"] = [17]


def _infinite(cache: StandIn) -> None:
    cache.state["ego_state"].state["_tire_steering_angle"] = float("inf")


def _one_point(cache: StandIn) -> None:
    cache.state["centerline"].args = (cache.state["centerline"].args[0][:1],)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_drop("trajectory"), "a MetricCache has no `trajectory`"),
        (_drop("observation", "_unique_objects"), "a PDMObservation has no `_unique_objects`"),
        (_drop("ego_state", "_dynamic_car_state"), "an? EgoState has no `_dynamic_car_state`"),
        (_set(None, "centerline"), "found a NoneType in place of PDMPath"),
        (_set(0.5, "observation", "_sample_interval"), "sampled 51 times, each 1 x 0.5 s"),
        (_set(2, "observation", "_observation_sample_res"), "each 2 x 0.1 s"),
        (_set(["tr0"], "observation", "_collided_track_ids"), "marked as hit before"),
        (_other_vehicle, "has a width of 1.9 m, not 2.297 m"),
        (_short_plan, "ends after 2 s, before 4 s"),
        (_stretched, "outline of track `tr"),
        (_stranger, "track `tr9` at step 3 is not described"),
        (_holed, "`rb0` is a polygon with 1 holes"),
        (_unknown_layer, "is of nuPlan's map layer 4"),
        (_number_for_an_id, "an id of the map is 17, not text"),
        (_infinite, "_tire_steering_angle is inf"),
        (_one_point, "centerline has 1 distinct points"),
    ],
)
def test_what_is_not_as_it_should_be_is_said_with_the_file(
    write: Callable[..., Path], edit: Edit, message: str
) -> None:
    path = write(edit)
    with pytest.raises(DataError, match=message) as caught:
        read_metric_cache(path)
    assert str(path) in str(caught.value)
