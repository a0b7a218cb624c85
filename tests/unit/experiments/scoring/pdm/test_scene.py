"""A scene is complete and possible, or there is none."""

import dataclasses

import numpy as np
import pytest

from experiments.data.errors import DataError
from experiments.scoring.pdm.scene import MapPolygon
from tests.unit.experiments.scoring.pdm.worlds import road, tracks

CAR = {"x": 25.0, "y": 0.0}
SQUARE = np.array([[0.0, 0], [1, 0], [1, 1]])


def polygon(**changes):
    return MapPolygon(**{"id": "p", "layer": "lane", "ring": SQUARE, **changes})


def changed(array, place, value):
    result = np.array(array)
    result[place] = value
    return result


def test_a_good_scene_is_accepted():
    assert road(CAR).tracks.tokens == ("track0",)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"polygons": ()}, "there are no polygons"),
        ({"polygons": (polygon(layer="walkway"),)}, "polygon `p` has the layer `walkway`"),
        ({"polygons": (polygon(ring=SQUARE[:2]),)}, "polygon `p` has 2 distinct points"),
        (
            {"polygons": (polygon(ring=SQUARE[[0, 1, 0, 1]]),)},
            "polygon `p` has 2 distinct points",
        ),
        (
            {"polygons": (polygon(ring=changed(SQUARE, (1, 0), np.inf)),)},
            "polygon `p` has the value inf",
        ),
        ({"polygons": (polygon(ring=SQUARE.astype(np.float32)),)}, "is float32 of shape (3, 2)"),
        ({"centerline": np.zeros((1, 3))}, "centerline has 1 distinct points"),
        ({"centerline": np.zeros((5, 3))}, "centerline has 1 distinct points"),
        ({"centerline": np.zeros((5, 2))}, "centerline is float64 of shape (5, 2)"),
        ({"reference": np.zeros((8, 3))}, "reference is float64 of shape (8, 3)"),
        ({"reference": np.full((41, 3), np.nan)}, "reference has the value nan"),
    ],
)
def test_what_cannot_be_is_refused_with_the_token_and_the_value(changes, message):
    with pytest.raises(DataError) as refused:
        road(**changes)
    assert refused.value.message.startswith("scene `road`: ")
    assert message in refused.value.message
    assert refused.value.hint


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("pose", np.array([0.0, np.nan, 0.0]), "ego.pose has the value nan"),
        ("velocity", np.zeros(3), "ego.velocity is float64 of shape (3,)"),
        ("acceleration", np.array([np.inf, 0.0]), "ego.acceleration has the value inf"),
        ("steering_angle", float("nan"), "ego.steering_angle has the value nan"),
    ],
)
def test_an_impossible_ego_is_refused(field, value, message):
    with pytest.raises(DataError) as refused:
        road(ego=dataclasses.replace(road().ego, **{field: value}))
    assert message in refused.value.message


GOOD = tracks(CAR, {"x": 40.0, "y": 3.5, "from_step": 5})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokens": ("a", "a")}, "track `a` comes twice"),
        ({"types": ("vehicle",)}, "2 tracks have 1 types"),
        ({"types": ("vehicle", "tram")}, "track `track1` has the type `tram`"),
        ({"present": GOOD.present[:, :41]}, "tracks.present is bool (2, 41)"),
        ({"present": GOOD.present.astype(float)}, "tracks.present is float64 (2, 51)"),
        ({"present": changed(GOOD.present, 1, False)}, "track `track1` is never present"),
        ({"present": np.ones((2, 51), bool)}, "track `track1` (boxes) has the value nan"),
        ({"boxes": changed(GOOD.boxes, (0, 3, 4), 0.0)}, "track `track0` is 4.5 m long and 0 m"),
        ({"boxes": GOOD.boxes[..., :4]}, "tracks.boxes is float64 of shape (2, 51, 4)"),
        (
            {"velocities": changed(GOOD.velocities, (0, 2, 1), np.inf)},
            "track `track0` (velocities) has the value inf",
        ),
    ],
)
def test_impossible_tracks_are_refused(changes, message):
    with pytest.raises(DataError) as refused:
        road(tracks=dataclasses.replace(GOOD, **changes))
    assert message in refused.value.message


def test_what_is_not_there_may_be_anything():
    assert np.isnan(road(tracks=GOOD).tracks.boxes[1, :5]).all()


@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_bad_ring_among_good_ones_is_named(place):
    rings = [SQUARE, SQUARE[[0, 1, 2, 0]], SQUARE + 5.0]
    rings[place] = SQUARE[[0, 0, 1, 0, 1]]
    polygons = tuple(polygon(id=f"p{n}", ring=ring) for n, ring in enumerate(rings))
    with pytest.raises(DataError, match=f"polygon `p{place}` has 2 distinct points"):
        road(polygons=polygons)


def test_rings_that_begin_with_the_same_point_twice_are_good():
    ring = SQUARE[[0, 0, 1, 1, 2]]
    assert road(polygons=(polygon(ring=ring), polygon(id="q")))
