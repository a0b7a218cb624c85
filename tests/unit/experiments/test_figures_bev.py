"""Scenes from above: what lies ahead is up, what cannot be is refused."""

from typing import Any

import numpy as np
import pytest

from experiments.data.errors import DataError
from experiments.figures.bev import BevPlan, _outlines, seen, window
from experiments.figures.scenes import bev_scene
from experiments.figures.sheets import SheetRow, trajectory_sheet
from experiments.scoring.pdm.scene import EgoState, MapPolygon, SceneMetrics, Tracks
from tests.unit.experiments.scenes_to_draw import plan, scene


def test_ahead_is_up_and_left_is_left() -> None:
    assert seen(np.array([[10.0, 3.0]])).tolist() == [[-3.0, 10.0]]
    # The ego looks north; the car is 20 m north and 3 m west of it.
    np.testing.assert_allclose(seen(_outlines(scene())).mean((0, 1)), [-3.0, 20.0], atol=1e-9)


def test_a_box_keeps_its_length_along_its_heading_and_small_things_are_seen() -> None:
    (car,) = seen(_outlines(scene()))
    np.testing.assert_allclose(np.ptp(car, axis=0), [2.0, 5.0], atol=1e-9)
    cone = np.array([[97.0, 70.0, 0.0, 0.3, 0.3]])
    (drawn,) = _outlines(scene(boxes=cone, types=("traffic_cone",)))
    np.testing.assert_allclose(np.ptp(drawn, axis=0), [0.9, 0.9], atol=1e-9)


def test_a_window_is_square_and_holds_all_paths_and_the_ego() -> None:
    (left, right), (bottom, top) = window([np.array([[40.0, 5.0, 0.0], [40.0, -30.0, 0.0]])])
    assert right - left == pytest.approx(top - bottom)
    assert left < -5
    assert right > 30
    assert bottom < 0
    assert top > 40


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"ego": np.array([0.0, np.nan, 0.0])}, "`ego` of `t1` holds a number that is not finite"),
        ({"boxes": np.zeros((2, 5))}, r"`boxes` of `t1` has shape \(2, 5\), not \(1, 5\)"),
        ({"polygons": [("river", np.zeros((3, 2)))]}, "unknown layer `river`"),
        ({"human": np.zeros((8, 2))}, "`human` of `t1` has shape"),
    ],
)
def test_a_scene_that_cannot_be_is_refused(changed: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        scene(**changed)


def test_a_plan_with_more_scores_than_anchors_is_refused() -> None:
    with pytest.raises(DataError, match="`anchor_scores` of `a`"):
        plan(anchor_scores=np.zeros(3))


def test_a_sheet_has_the_same_runs_in_each_row() -> None:
    rows = [
        SheetRow(scene=scene(), plans=[plan("a"), plan("b")]),
        SheetRow(scene=scene(token="t2"), plans=[plan("b"), plan("a")]),
    ]
    with pytest.raises(DataError, match="scene `t2` has plans of"):
        trajectory_sheet(rows, "png")
    with pytest.raises(DataError, match="no scenes"):
        trajectory_sheet([], "png")


def test_a_sheet_without_anchors_boxes_and_human_is_drawn() -> None:
    bare = scene(human=None, boxes=np.zeros((0, 5)), types=())
    alone = BevPlan(run="a", poses=np.zeros((8, 3)))
    trajectory_sheet([SheetRow(scene=bare, plans=[alone])], "png")


def test_a_scene_of_the_scorer_is_drawn_with_what_is_there_now() -> None:
    """A track that comes later is not there yet, and its box holds no numbers."""
    boxes = np.tile([20.0, 3.0, 0.0, 5.0, 2.0], (2, 51, 1))
    present = np.ones((2, 51), bool)
    boxes[0, :10], present[0, :10] = np.nan, False
    square = np.array([[-9.0, -9.0], [99.0, -9.0], [99.0, 9.0], [-9.0, 9.0]])
    path = np.stack([np.arange(41.0), np.zeros(41), np.zeros(41)], -1)
    metrics = SceneMetrics(
        token="t1",
        ego=EgoState(
            pose=np.zeros(3), velocity=np.zeros(2), acceleration=np.zeros(2), steering_angle=0.0
        ),
        polygons=(MapPolygon(id="1", layer="roadblock", ring=square),),
        route_lane_ids=frozenset(),
        centerline=path,
        tracks=Tracks(
            tokens=("late", "here"),
            types=("vehicle", "bicycle"),
            boxes=boxes,
            velocities=np.zeros((2, 51, 2)),
            present=present,
        ),
        reference=path,
    )
    found = bev_scene(metrics)
    assert (found.token, list(found.types), found.polygons[0][0]) == (
        "t1",
        ["bicycle"],
        "roadblock",
    )
    np.testing.assert_array_equal(found.boxes, [[20.0, 3.0, 0.0, 5.0, 2.0]])
    trajectory_sheet([SheetRow(scene=found, plans=[plan()])], "png")
