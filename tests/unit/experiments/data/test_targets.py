"""Auxiliary targets: what is drawn where, who is near, and where both are kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.data import DataError, Splits
from experiments.data.dataset import PlanningDataset
from experiments.data.frames import to_global
from experiments.data.maps import MapPolygon, PolygonMap
from experiments.data.source import Traffic
from experiments.data.targets import BEV_CLASSES, NUM_AGENTS, agents, bev_semantics
from experiments.settings import DataConfig
from launcher.errors import ConfigError
from tests.unit.experiments.data.worlds import edit_log, first_log, open_copy

POSE = np.array([4.0e5, 4.0e6, 2.3])


def objects(*rows: tuple[str, float, float, float, float, float]) -> Traffic:
    """Return objects given as kind, x, y, length, width, heading."""
    boxes = np.array([row[1:] for row in rows], np.float64).reshape(-1, 5)
    return Traffic(
        step=np.zeros(len(rows), np.int64),
        box=boxes,
        velocity=np.zeros((len(rows), 2)),
        kind=np.array([row[0] for row in rows], np.str_),
        track=np.array([str(n) for n in range(len(rows))], np.str_),
    )


def polygon(layer: str, corners: list[tuple[float, float]], line: bool = False) -> MapPolygon:
    """Return a polygon given in the frame of an ego at POSE; its line is the x axis."""
    local = np.array([(x, y, 0.0) for x, y in corners])
    axis = np.array([(x, 0.0, 0.0) for x in np.arange(-40.0, 41.0)])
    centreline = to_global(axis, POSE) if line else None
    return MapPolygon("p", layer, to_global(local, POSE)[:, :2], centreline)


def area(*polygons: MapPolygon) -> PolygonMap:
    return PolygonMap(polygons, (), (), np.zeros((0, 3)), None)


def box(left: float, right: float, low: float, high: float) -> list[tuple[float, float]]:
    """Return corners: `low` to `high` ahead, `right` to `left` across."""
    return [(low, right), (high, right), (high, left), (low, left)]


def at(image: np.ndarray, x: float, y: float, range_m: float = 32.0) -> str:
    """Return the class at a place in the ego frame, found as cells of the histogram are."""
    scale = image.shape[1] / (2 * range_m)
    return BEV_CLASSES[image[int(np.floor(x * scale)), int(np.floor((y + range_m) * scale))]]


def test_the_map_runs_like_the_front_half_of_the_histogram() -> None:
    road = polygon("lane", box(2.0, -4.0, -20.0, 25.0), line=True)
    walk = polygon("walkway", box(5.0, 2.0, -20.0, 40.0))
    image = bev_semantics(area(road, walk), POSE, objects(), 256, 32.0)
    assert image.shape == (128, 256)
    assert image.dtype == np.uint8
    assert at(image, 10.0, -2.0) == "road"
    assert at(image, 10.0, 0.0) == "centreline"
    assert at(image, 10.0, 3.5) == "walkway"
    assert at(image, 10.0, -6.0) == "background"
    assert at(image, 28.0, -2.0) == "background"
    assert at(image, 31.0, 3.5) == "walkway"


def test_areas_are_as_large_as_their_polygons() -> None:
    road = polygon("intersection", box(7.0, -9.0, 3.0, 21.0))
    image = bev_semantics(area(road), POSE, objects(), 256, 32.0)
    rows, columns = np.nonzero(image)
    # Pixels that the outline touches belong to it, as where NAVSIM draws.
    np.testing.assert_allclose([rows.min(), rows.max() + 1], [12, 84], atol=1)
    np.testing.assert_allclose([columns.min(), columns.max() + 1], [92, 156], atol=1)
    assert (image == 1).sum() == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)


def test_objects_lie_over_the_road_and_walkers_over_cars() -> None:
    road = polygon("lane", box(9.0, -9.0, -20.0, 40.0), line=True)
    things = objects(
        ("pedestrian", 12.0, 3.0, 1.0, 1.0, 0.0),
        ("vehicle", 12.0, 3.0, 4.6, 1.9, 0.4),
        ("barrier", 20.0, 0.0, 0.5, 2.6, 0.0),
        ("bicycle", 25.0, -5.0, 2.0, 1.0, 0.0),
    )
    image = bev_semantics(area(road), POSE, things, 256, 32.0)
    assert at(image, 12.0, 3.0) == "pedestrian"
    assert at(image, 13.5, 3.6) == "vehicle"
    assert at(image, 20.1, 1.0) == "static object"
    assert at(image, 25.0, -5.0) == "road"  # NAVSIM draws no bicycles


def test_what_is_behind_or_far_aside_is_not_drawn() -> None:
    things = objects(("vehicle", -6.0, 0.0, 4.6, 1.9, 0.0), ("vehicle", 10.0, 40.0, 4.6, 1.9, 0.0))
    assert not bev_semantics(area(), POSE, things, 64, 32.0).any()


def test_half_as_many_pixels_show_the_same_ground() -> None:
    road = polygon("lane", box(4.0, -12.0, 2.0, 30.0))
    fine, coarse = (bev_semantics(area(road), POSE, objects(), n, 32.0) for n in (256, 64))
    assert coarse.shape == (32, 64)
    # Up to a pixel at the outline.
    sizes = [[np.ptp(where) + 1 for where in np.nonzero(image)] for image in (fine, coarse)]
    np.testing.assert_allclose(np.array(sizes[0]) / 4, sizes[1], atol=1.0)
    assert at(fine, 15.0, -11.0) == at(coarse, 15.0, -11.0) == "road"
    assert at(fine, 15.0, 6.0) == at(coarse, 15.0, 6.0) == "background"


def test_the_nearest_vehicles_come_first_and_the_rest_is_left_out() -> None:
    rng = np.random.default_rng(0)
    places = rng.uniform(-40.0, 40.0, (60, 2))
    things = objects(
        ("pedestrian", 1.0, 1.0, 0.6, 0.6, 0.0),
        *(("vehicle", float(x), float(y), 4.5, 1.8, 0.3) for x, y in places),
    )
    states, labels = agents(things, 32.0)
    inside = places[(np.abs(places) <= 32.0).all(axis=1)]
    nearest = inside[np.argsort(np.hypot(*inside.T))][:NUM_AGENTS]
    assert labels.all()
    np.testing.assert_allclose(states[:, :2], nearest, rtol=1e-6)
    np.testing.assert_allclose(states[0, 2:], [0.3, 4.5, 1.8], rtol=1e-6)


def test_rows_without_a_vehicle_are_marked() -> None:
    states, labels = agents(objects(("vehicle", 5.0, 1.0, 4.5, 1.8, 0.0)), 32.0)
    assert labels.tolist() == [True] + [False] * (NUM_AGENTS - 1)
    assert not states[1:].any()
    assert not agents(objects(), 32.0)[1].any()


def test_targets_of_a_window_agree_with_its_boxes_and_map(splits: Splits) -> None:
    source = splits.source
    dataset = PlanningDataset(source, splits.val, [], targets={"agents", "bev_semantics"})
    seen = set()
    for n, i in enumerate(splits.val.tolist()):
        item, now = dataset[n], source.boxes(i).at(0)
        assert item["agent_states"].dtype == torch.float32
        assert item["agent_labels"].dtype == torch.bool
        states, _ = agents(now, 32.0)
        np.testing.assert_allclose(item["agent_states"].numpy(), states, atol=1e-4)
        image = item["bev_semantics"].numpy()
        expected = bev_semantics(source.map_of(i), source.pose[i], now, 64, 32.0)
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(image, expected)
        seen |= set(np.unique(image).tolist())
    assert seen >= {0, 1, 2, 3, 5}


def test_the_road_ahead_of_the_ego_is_drawn_as_road(splits: Splits) -> None:
    source = splits.source
    for i in splits.train.tolist():
        image = source.targets(i, ["bev_semantics"])["bev_semantics"]
        for x, y, _ in source.future[i].astype(np.float64):
            if 1.0 < x < 31.0 and abs(y) < 31.0:
                assert at(image, x, y) not in ("background", "walkway")


def test_only_targets_asked_for_come(splits: Splits) -> None:
    assert set(splits.source.targets(0, ["agents"])) == {"agent_states", "agent_labels"}
    item = PlanningDataset(splits.source, splits.val, [], targets=["bev_semantics"])[0]
    assert "agent_states" not in item
    assert item["bev_semantics"].shape == (32, 64)


def test_targets_are_made_once_and_shared(
    recorded: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_copy(recorded).targets(3, ["agents", "bev_semantics"])

    def fail(*_: object) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr("experiments.data.targets_kept.agents", fail)
    monkeypatch.setattr("experiments.data.targets_kept.bev_semantics", fail)
    again = open_copy(recorded).targets(3, ["agents", "bev_semantics"])
    for name, array in first.items():
        np.testing.assert_array_equal(array, again[name])
        assert array.flags.writeable


def test_another_range_is_another_target(recorded: DataConfig) -> None:
    wide, narrow = (
        open_copy(replace(recorded, bev_range_m=metres)).targets(0, ["agents"])["agent_labels"]
        for metres in (60.0, 8.0)
    )
    assert wide.sum() > narrow.sum()


def test_a_map_to_learn_where_there_are_no_maps_is_refused(recorded: DataConfig) -> None:
    for path in (Path(recorded.root) / "maps").iterdir():
        path.unlink()
    (Path(recorded.root) / "maps").rmdir()
    source = open_copy(recorded)
    with pytest.raises(ConfigError, match="no maps") as caught:
        PlanningDataset(source, np.arange(2), [], targets=["bev_semantics"])
    assert "backbone.auxiliary=none" in str(caught.value.hint)
    assert (
        len(PlanningDataset(source, np.arange(2), [], targets=["agents"])[0]["agent_labels"]) == 30
    )


def test_annotations_that_are_not_finite_are_refused_with_their_frame(
    recorded: DataConfig,
) -> None:
    def spoil(frames: list[dict[str, object]]) -> str:
        anns = frames[5]["anns"]
        assert isinstance(anns, dict)
        anns["gt_boxes"][0, 6] = np.nan
        return str(frames[5]["token"])

    tokens: list[str] = []
    edit_log(first_log(recorded), lambda frames: tokens.append(spoil(frames)))
    with pytest.raises(DataError, match="not finite") as caught:
        PlanningDataset(open_copy(recorded), np.arange(2), [], targets=["agents"])
    assert tokens[0] in str(caught.value)


def test_a_teacher_that_is_wanted_but_not_given_is_refused(splits: Splits) -> None:
    with pytest.raises(ConfigError, match="teacher"):
        PlanningDataset(splits.source, splits.val, [], targets=["teacher"])
