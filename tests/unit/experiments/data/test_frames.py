from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from experiments.data.frames import corners, quaternion_of, to_global, to_local, wrap, yaw_of

metres = st.floats(-1e6, 1e6)
angles = st.floats(-3.1, 3.1)
poses = st.tuples(metres, metres, angles).map(np.array)


@given(poses, poses)
def test_local_and_global_undo_each_other(pose: np.ndarray, origin: np.ndarray) -> None:
    back = to_global(to_local(pose, origin), origin)
    np.testing.assert_allclose(back[:2], pose[:2], atol=1e-6)
    assert abs(wrap(back[2] - pose[2])) < 1e-9


def test_a_point_to_the_left_has_positive_y() -> None:
    facing_north = np.array([100.0, 50.0, np.pi / 2])
    np.testing.assert_allclose(
        to_local([99.0, 50.0, np.pi / 2], facing_north), [0, 1, 0], atol=1e-9
    )


def test_heading_differences_wrap_across_pi() -> None:
    local = to_local([0.0, 0.0, -3.1], [0.0, 0.0, 3.1])
    np.testing.assert_allclose(local[2], 2 * np.pi - 6.2)


@given(angles)
def test_yaw_survives_the_quaternion(yaw: float) -> None:
    assert abs(wrap(yaw_of(quaternion_of(yaw)) - yaw)) < 1e-9


def test_yaw_ignores_the_sign_of_the_quaternion() -> None:
    np.testing.assert_allclose(yaw_of(-quaternion_of(2.0)), 2.0)


def test_corners_start_at_the_front_left() -> None:
    box = corners([10.0, 5.0, 4.0, 2.0, np.pi / 2])
    np.testing.assert_allclose(box[0], [9.0, 7.0], atol=1e-9)
    np.testing.assert_allclose(box[2], [11.0, 3.0], atol=1e-9)
