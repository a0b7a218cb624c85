from __future__ import annotations

import numpy as np
import pytest

from experiments.scoring import (
    average_displacement,
    constant_velocity,
    final_displacement,
    heading_error,
)


def straight(step: float, count: int = 1) -> np.ndarray:
    poses = np.zeros((count, 8, 3))
    poses[:, :, 0] = step * np.arange(1, 9)
    return poses


def test_errors_of_a_plan_that_is_too_fast() -> None:
    planned, driven = straight(2.0), straight(1.0)
    assert average_displacement(planned, driven).tolist() == [4.5]
    assert final_displacement(planned, driven).tolist() == [8.0]


def test_heading_does_not_count_as_displacement() -> None:
    planned = straight(1.0)
    planned[..., 2] = 0.5
    assert average_displacement(planned, straight(1.0)).tolist() == [0.0]
    np.testing.assert_allclose(heading_error(planned, straight(1.0)), [0.5])


def test_heading_errors_wrap() -> None:
    planned, driven = straight(1.0), straight(1.0)
    planned[..., 2], driven[..., 2] = 3.1, -3.1
    np.testing.assert_allclose(heading_error(planned, driven), [2 * np.pi - 6.2])


def test_scenes_are_kept_apart() -> None:
    planned = np.concatenate([straight(1.0), straight(2.0)])
    assert average_displacement(planned, straight(1.0, 2)).tolist() == [0.0, 4.5]


@pytest.mark.parametrize("shape", [(8, 3), (2, 7, 3), (2, 8, 2), (2, 24)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="poses have shape"):
        average_displacement(np.zeros(shape), np.zeros(shape))


def test_another_number_of_scenes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"wanted \(2, 8, 3\)"):
        average_displacement(straight(1.0, 2), straight(1.0, 3))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_poses_that_are_not_finite_are_refused(value: float) -> None:
    planned = straight(1.0, 3)
    planned[1, 4, 2] = value
    with pytest.raises(ValueError, match="1 scenes are not finite, the first is row 1"):
        average_displacement(planned, straight(1.0, 3))


def test_constant_velocity_goes_straight_at_the_current_speed() -> None:
    status = np.array([[0, 1, 0, 0, 10.0, 0.5, 1.0, 2.0], [1, 0, 0, 0, 0.0, 0.0, 0.0, 0.0]])
    poses = constant_velocity(status)
    assert poses.shape == (2, 8, 3)
    assert poses[0, :, 0].tolist() == [5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0, 40.0]
    assert not poses[0, :, 1:].any()
    assert not poses[1].any()
