"""The commands that follow a plan: nuPlan's LQR tracker, for all plans at once.

A plan gives a speed and a curvature at each of its 40 steps, by two regularised least squares; the
tracker then looks 10 steps ahead of the simulated state. The least squares of the speeds has the
same matrix for all plans (each displacement is projected on a unit heading), that of the curvatures
is tridiagonal in the curvatures, and the look-ahead is a polynomial in speed and acceleration whose
coefficients are linear in the curvatures. So nothing is inverted per plan; results equal those of
the official pseudo-inverses to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from experiments.data.frames import Floats
from experiments.scoring.pdm.plans import wrapped
from experiments.scoring.pdm.scene import PLAN_STATES, STEP_S

WHEELBASE_M = 3.089
STEPS = PLAN_STATES - 1
LOOK_AHEAD = 10
JERK_PENALTY = 1e-4
CURVATURE_RATE_PENALTY = 1e-2
FIRST_CURVATURE_PENALTY = 1e-10
LONGITUDINAL_COST, LATERAL_COST, HEADING_COST = 10.0, 1.0, 10.0
"""Of errors; that of either input is 1."""
STOP_SPEED_MPS = 0.2
STOP_GAIN_PER_S = 0.5


@dataclass(frozen=True, slots=True)
class Track:
    """What the tracker needs to know of P plans."""

    poses: Tensor
    """(41, P, 3) centred."""
    speed: Tensor
    """(40, P) [m/s]."""
    bends: Tensor
    """(40, 5, P): sums over the 10 curvatures ahead of each step, weighted as in `_bend_sums`."""


@dataclass(frozen=True, slots=True)
class Errors:
    """How far (P,) simulated states are off their plan, and what they are."""

    lateral: Tensor
    heading: Tensor
    steering: Tensor
    speed: Tensor


def track_of(poses: Tensor, *, quirk: bool = True) -> Track:
    """Fit (41, P, 3) centred plans.

    Args:
        poses: the plans.
        quirk: penalise accelerations as the published code does (all but the last) instead of
            their differences, as it means to. The published metric needs True.
    """
    steps = torch.diff(poses, dim=0)
    heading = poses[:-1, :, 2]
    along = steps[..., 0] * torch.cos(heading) + steps[..., 1] * torch.sin(heading)
    speed = constant(_speed_fit, poses.device, quirk) @ along
    curvature = _curvatures(wrapped(steps[..., 2]), speed)
    sums = constant(_bend_sums, poses.device)
    return Track(poses, speed, torch.tensordot(sums, curvature, dims=1))


@cache
def constant(made: Callable[..., Floats], device: torch.device, *arguments: object) -> Tensor:
    """Return an array that never changes, copied to a device once."""
    return torch.from_numpy(made(*arguments)).to(device)


@cache
def _speed_fit(quirk: bool) -> Floats:
    """Return the (40, 40) matrix from displacements along the heading [m] to speeds [m/s].

    The unknowns are the first speed and 39 accelerations a; the cost is the squared misfit of
    the displacements and `JERK_PENALTY` times the squared norm of R a.
    """
    to_speed = np.tril(np.full((STEPS, STEPS), STEP_S))
    to_speed[:, 0] = 1.0
    differences = np.zeros((STEPS - 2, STEPS))
    rows = np.arange(STEPS - 2)
    if not quirk:
        differences[rows, rows + 2] = 1.0
    differences[rows, rows + 1] = -1.0
    # In the published matrix the -1s are written over the whole block that holds the +1s, all
    # of which are lost but the one of the last row, which lies outside.
    differences[-1, -1] = 1.0
    design = STEP_S * to_speed
    normal = design.T @ design + JERK_PENALTY * differences.T @ differences
    return np.asarray(to_speed @ np.linalg.solve(normal, design.T), np.float64)


def _curvatures(turns: Tensor, speed: Tensor) -> Tensor:
    """Return the (40, P) curvatures [1/m] k that fit (40, P) turns [rad] at (40, P) speeds.

    The minimum of sum (turn - speed dt k)^2 + c sum (k - its predecessor)^2 + tiny k_0^2 solves
    a symmetric tridiagonal system. Elimination keeps the excess s of each pivot over c, for c
    cancels in the pivots of a standing plan, where all else is tiny.
    """
    penalty = CURVATURE_RATE_PENALTY / STEP_S**2
    gain = speed * STEP_S
    weight, right = gain * gain, gain * turns
    excess = [weight[0] + FIRST_CURVATURE_PENALTY]
    values = [right[0]]
    for step in range(1, STEPS):
        factor = penalty / (penalty + excess[-1])
        excess.append(weight[step] + factor * excess[-1])
        values.append(right[step] + factor * values[-1])
    result = [values[-1] / excess[-1]]
    for step in reversed(range(STEPS - 1)):
        result.append((values[step] + penalty * result[-1]) / (penalty + excess[step]))
    return torch.stack(result[::-1])


@cache
def _bend_sums() -> Floats:
    """Return (40, 5, 40): from curvatures k to the sums that the look-ahead of a step needs.

    With j = 0..9 counting the steps ahead, n_j the number of later steps and m_j the sum of
    their j: sums of k_j, j k_j, n_j k_j, (j n_j + m_j) k_j and j m_j k_j. The curvature of the
    last step stands for those beyond it.
    """
    ahead = np.arange(LOOK_AHEAD)
    later = LOOK_AHEAD - 1 - ahead
    later_sum = ahead.sum() - np.cumsum(ahead)
    rows = np.stack(
        [np.ones(LOOK_AHEAD), ahead, later, ahead * later + later_sum, ahead * later_sum]
    )
    result = np.zeros((STEPS, 5, STEPS))
    for step in range(STEPS):
        for j in range(LOOK_AHEAD):
            result[step, :, min(step + j, STEPS - 1)] += rows[:, j]
    return result


def _pair_sums() -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Return sums over i < j < 10 of (1, i + j, i j) and of i (1, i + j, i j)."""
    i, j = np.triu_indices(LOOK_AHEAD, k=1)
    plain = float(len(i)), float((i + j).sum()), float((i * j).sum())
    steered = float(i.sum()), float((i * (i + j)).sum()), float((i * i * j).sum())
    return plain, steered


_PLAIN, _STEERED = _pair_sums()
_SUM_J = float(sum(range(LOOK_AHEAD)))
_SUM_J2 = float(sum(j * j for j in range(LOOK_AHEAD)))


def commands(track: Track, step: int, errors: Errors) -> tuple[Tensor, Tensor]:
    """Return (P,) accelerations [m/s^2] and steering rates [rad/s] at a step of 0.1 s."""
    target = track.speed[min(step + LOOK_AHEAD, STEPS - 1)]
    ahead_s = LOOK_AHEAD * STEP_S
    gain = LONGITUDINAL_COST * ahead_s / (ahead_s * LONGITUDINAL_COST * ahead_s + 1)
    surplus = errors.speed - target
    stops = (target <= STOP_SPEED_MPS) & (errors.speed <= STOP_SPEED_MPS)
    acceleration = torch.where(stops, -STOP_GAIN_PER_S * surplus, -gain * surplus)
    rate = _steering_rate(track.bends[step], errors, acceleration)
    return acceleration, torch.where(stops, 0.0, rate)


def _steering_rate(bends: Tensor, errors: Errors, acceleration: Tensor) -> Tensor:
    """Return the (P,) constant rate that is best for the errors 10 steps ahead.

    Step j ahead has the speed v + j b, b = dt a. Errors move by dt v theta and
    dt v (delta / L - k); so after 10 steps heading and lateral error are affine in the rate,
    with the coefficients below.
    """
    v, b = errors.speed, STEP_S * acceleration
    vv, vb, bb = v * v, v * b, b * b
    turn = STEP_S / WHEELBASE_M
    path = LOOK_AHEAD * v + _SUM_J * b
    by_rate = STEP_S * turn * (_SUM_J * v + _SUM_J2 * b)
    lateral_by_rate = STEP_S**2 * turn * (_STEERED[0] * vv + _STEERED[1] * vb + _STEERED[2] * bb)
    lateral_by_steering = STEP_S * turn * (_PLAIN[0] * vv + _PLAIN[1] * vb + _PLAIN[2] * bb)
    heading = (
        errors.heading + turn * path * errors.steering - STEP_S * (bends[0] * v + bends[1] * b)
    )
    lateral = (
        errors.lateral
        + STEP_S * path * errors.heading
        + lateral_by_steering * errors.steering
        - STEP_S**2 * (bends[2] * vv + bends[3] * vb + bends[4] * bb)
    )
    pull = LATERAL_COST * lateral_by_rate * lateral + HEADING_COST * by_rate * wrapped(heading)
    return -pull / (LATERAL_COST * lateral_by_rate**2 + HEADING_COST * by_rate**2 + 1)
