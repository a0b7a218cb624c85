"""Comfort of simulated states, against the same filters applied one signal at a time."""

import numpy as np
import pytest
import torch

from experiments.scoring.pdm.comfort import comfort
from experiments.scoring.pdm.simulation import Driven
from tests.unit.experiments.scoring.pdm import naive

TIMES = 0.1 * np.arange(41)


def waves(draws, count, size):
    """(41, count) sums of slow and fast waves."""
    rate = draws.uniform(0.2, 12, (3, 1, count))
    phase = draws.uniform(0, 7, (3, 1, count))
    height = size * draws.uniform(0, 1, (3, 1, count)) ** 2
    return (height * np.sin(rate * TIMES[:, None] + phase)).sum(axis=0)


def driven(heading, forward, left):
    still = torch.zeros(heading.shape, dtype=torch.float64)
    signals = (torch.from_numpy(array) for array in (heading, forward, left))
    heading, forward, left = signals
    return Driven(still, still, heading, still, forward, left)


# Sizes at which the signal named decides.
@pytest.mark.parametrize(
    ("turns", "forward", "left"),
    [(0.25, 0, 0), (0, 4, 0), (0, 0, 12), (0.12, 2, 3)],
    ids=["turning", "speeding up", "sliding", "all"],
)
def test_comfort_is_that_of_each_state_alone(turns, forward, left):
    draws = np.random.default_rng(0)
    count = 120
    heading = waves(draws, count, turns) + draws.uniform(-3, 3, count)
    wrapped = (heading + np.pi) % (2 * np.pi) - np.pi
    ahead, aside = waves(draws, count, forward), waves(draws, count, left)
    got = comfort(driven(wrapped, ahead, aside)).numpy()
    expected = []
    for row in range(count):
        states = np.zeros((41, 7))
        states[:, 2], states[:, 5] = wrapped[:, row], ahead[:, row]
        states[:, 6] = aside[:, row]
        expected.append(naive.comfort(states))
    assert np.array_equal(got, expected)
    assert 0.1 < got.mean() < 0.9


def test_the_bound_of_jerk_is_met_to_a_millionth():
    noise = 0.3 * np.random.default_rng(1).normal(size=41)
    signal = (TIMES - 2) ** 2 - 2 + noise
    signal *= 4.13 / np.abs(naive.jerk(signal)).max()
    for factor, fine in ((1 - 1e-6, 1), (1 + 1e-6, 0)):
        ahead = factor * signal[:, None]
        assert comfort(driven(0 * ahead, ahead, 0 * ahead)) == fine


@pytest.mark.parametrize(("slope", "fine"), [(2.3, 1), (2.5, 0), (-4.0, 1), (-4.1, 0)])
def test_braking_may_be_harder_than_speeding_up(slope, fine):
    steady = np.full((41, 1), slope)
    assert comfort(driven(0 * steady, steady, 0 * steady)) == fine


@pytest.mark.parametrize(("rate", "fine"), [(0.94, 1), (-0.94, 1), (0.96, 0), (-0.96, 0)])
def test_turning_steadily_is_bound_by_the_yaw_rate(rate, fine):
    heading = (rate * TIMES[:, None] + np.pi) % (2 * np.pi) - np.pi
    assert comfort(driven(heading, 0 * heading, 0 * heading)) == fine


def test_a_short_jerk_of_the_wheel_is_felt():
    # Within five samples it turns at 1.2 rad/s; over the whole 4 s that would be smoothed away.
    heading = 0.12 * np.clip(np.arange(41)[:, None] - 18, 0, 3)
    assert comfort(driven(heading, 0 * heading, 0 * heading)) == 0
