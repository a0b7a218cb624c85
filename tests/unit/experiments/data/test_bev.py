from __future__ import annotations

import numpy as np

from experiments.data import bev, pcd


def cloud(*xyz: tuple[float, float, float]) -> np.ndarray:
    points = np.zeros(len(xyz), pcd.POINT)
    points["x"], points["y"], points["z"] = np.array(xyz).T
    return points


def test_rows_run_forward_and_columns_to_the_left() -> None:
    image = bev.histogram(cloud((10.2, 3.2, 1.0)), size_px=64, range_m=32.0)
    assert image.shape == (1, 64, 64)
    assert np.argwhere(image[0]).tolist() == [[32 + 10, 32 + 3]]


def test_it_agrees_with_the_histogram_that_navsim_takes() -> None:
    xyz = np.random.default_rng(0).uniform([-40, -40, -1], [40, 40, 3], (5000, 3))
    edges = np.linspace(-32, 32, 257)
    above = xyz[xyz[:, 2] > 0.2].astype(np.float32)
    counts = np.histogramdd(above[:, :2], bins=(edges, edges))[0]
    expected = np.minimum(counts, 5) / 5
    np.testing.assert_allclose(bev.histogram(cloud(*xyz), 256, 32.0)[0], expected, atol=1e-6)


def test_ground_is_dropped() -> None:
    assert bev.histogram(cloud((1, 1, 0.2), (1, 1, -3)), 64, 32.0).sum() == 0


def test_counts_are_clipped_at_five() -> None:
    image = bev.histogram(cloud(*[(1.0, 1.0, 1.0)] * 9, (-1.0, -1.0, 1.0)), 64, 32.0)
    assert sorted(image[image > 0].tolist()) == [np.float32(0.2), 1.0]


def test_points_outside_do_not_wrap_around() -> None:
    image = bev.histogram(cloud((32.0, 0, 1), (0, 32.0, 1), (-32.1, 0, 1), (0, -33, 1)), 64, 32.0)
    assert image.sum() == 0
