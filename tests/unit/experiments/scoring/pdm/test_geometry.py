"""Points in polygons and overlaps of boxes, against shapely."""

import numpy as np
import pytest
import shapely
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.scoring.pdm import membership
from experiments.scoring.pdm.boxes import Boxes, overlap
from experiments.scoring.pdm.membership import Polygons
from experiments.scoring.pdm.progress import way
from experiments.scoring.pdm.slabs import cut
from tests.unit.experiments.scoring.pdm.naive import rectangle

CPU = torch.device("cpu")
# Few distinct coordinates: corners, edges and points meet often.
small = st.integers(-4, 4).map(float)
rings = st.lists(st.tuples(small, small), min_size=3, max_size=9, unique=True).map(np.array)


@given(rings)
@settings(max_examples=300, deadline=None)
def test_points_on_edges_and_corners_are_outside_as_in_shapely(ring):
    polygon = shapely.Polygon(ring)
    if not polygon.is_valid:
        return
    points = np.stack(np.meshgrid(np.arange(-5, 5.5, 0.5), np.arange(-5, 5.5, 0.5)), -1)
    points = points.reshape(-1, 2)
    expected = shapely.contains_xy(polygon, points)
    assert np.array_equal(cut(ring, CPU).contains(torch.from_numpy(points)).numpy(), expected)


def star(draws, corners):
    angle = np.sort(draws.uniform(0, 2 * np.pi, corners))
    reach = draws.uniform(1, 20, corners)
    return np.stack([reach * np.cos(angle), reach * np.sin(angle)], -1) + draws.uniform(-15, 15, 2)


@pytest.mark.parametrize("grid_points", [0, 10**9], ids=["by a grid", "without a grid"])
@pytest.mark.parametrize(("count", "corners"), [(3, 200), (70, 12)])
def test_many_points_in_many_polygons_as_in_shapely(monkeypatch, grid_points, count, corners):
    monkeypatch.setattr(membership, "GRID_POINTS", grid_points)
    draws = np.random.default_rng(count)
    stars = [star(draws, corners) for _ in range(count)]
    points = draws.uniform(-30, 30, (6000, 2))
    words = Polygons(stars, CPU).holding(torch.from_numpy(points)).numpy()
    for number, ring in enumerate(stars):
        expected = shapely.contains_xy(shapely.Polygon(ring), points)
        word, bit = divmod(number, membership.WORD_BITS)
        assert np.array_equal((words[:, word] >> bit) & 1, expected)


def test_the_words_of_chosen_polygons_hold_their_bits():
    squares = [np.array([[0.0, 0], [1, 0], [1, 1]])] * 64
    bits = Polygons(squares, CPU).bits([number in (1, 63) for number in range(64)])
    assert bits.tolist() == [2, 2]


def test_far_flung_points_do_not_make_a_huge_grid():
    points = torch.tensor([[0.0, 0.0], [1e7, 3.0], [5.0, -1e7]], dtype=torch.float64)
    grid = membership.Grid.over(points)
    assert grid.rows * grid.columns < 2.1 * membership.MAX_CELLS
    line = torch.tensor([[0.0, 0.0], [1e7, 0.0]], dtype=torch.float64)
    grid = membership.Grid.over(line)
    assert grid.rows * grid.columns < 2.1 * membership.MAX_CELLS
    assert grid.cell_of(line).max() < grid.rows * grid.columns


def boxes(rows):
    x, y, heading, length, width = torch.tensor(rows, dtype=torch.float64).T
    return Boxes(x, y, torch.cos(heading), torch.sin(heading), length, width)


def test_random_boxes_overlap_as_in_shapely():
    draws = np.random.default_rng(0)
    pairs = draws.uniform((-4, -4, -7, 0.2, 0.2), (4, 4, 7, 3, 2), (3000, 2, 5))
    # Some of no length: the front bumper is one.
    pairs[:300, 0, 3] = 0.0
    got = overlap(boxes(pairs[:, 0]), boxes(pairs[:, 1])).numpy()
    shapes = [[rectangle(*box) for box in pair] for pair in pairs]
    expected = shapely.intersects(*np.array(shapes).T)
    assert 0.2 < expected.mean() < 0.8
    assert np.array_equal(got, expected)


def test_boxes_that_touch_overlap():
    one = boxes([[0, 0, 0, 2, 1]])
    for place, meets in (((4, 2), True), ((4, 2.0000001), False), ((4.0000001, 0), False)):
        assert bool(overlap(one, boxes([[*place, 0, 2, 1]]))) is meets


def test_progress_along_a_line_is_that_of_shapely():
    draws = np.random.default_rng(1)
    line = np.cumsum(draws.normal((0.7, 0), 0.5, (60, 2)), axis=0)
    line[20] = line[19]  # a step of no length
    start, ends = np.array([1.0, 2.0]), draws.uniform(-5, 45, (500, 2))
    shape = shapely.LineString(line)
    expected = shapely.line_locate_point(shape, shapely.points(ends)) - shape.project(
        shapely.Point(start)
    )
    got = way(line, torch.from_numpy(start), torch.from_numpy(ends)).numpy()
    assert got == pytest.approx(expected.clip(min=0), abs=1e-9)
    assert (got == 0).any()
