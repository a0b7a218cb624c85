"""The perceptron's output means a correction of a steady drive; pooling keeps neighbours."""

import torch

from tests.unit.experiments.models.heads import stubs


def test_silent_network_drives_on_at_constant_velocity() -> None:
    head = stubs.head("mlp")
    torch.nn.init.zeros_(head.output.weight)
    poses = head(stubs.tokens(1), stubs.status(1, (6.0, -1.0))).trajectory
    torch.testing.assert_close(poses[0, -1], torch.tensor([24.0, -4.0, 0.0]))
    torch.testing.assert_close(poses[0, 0], torch.tensor([3.0, -0.5, 0.0]))


def test_one_unit_of_output_is_five_metres_per_second() -> None:
    head = stubs.head("mlp")
    torch.nn.init.zeros_(head.output.weight)
    head.output.bias.data[-3:] = torch.tensor([1.0, 0.0, 0.0])
    poses = head(stubs.tokens(1), stubs.status(1, (0.0, 0.0))).trajectory
    torch.testing.assert_close(poses[0, -1], torch.tensor([20.0, 0.0, 0.0]))


def test_pooling_keeps_neighbours_together() -> None:
    head = stubs.head("mlp", (4, 16), pool_hw=(2, 8))
    grid = torch.zeros(4, 16)
    grid[2:, 6:8] = 1.0
    pooled = (head.pool.pooling @ grid.flatten()).view(2, 8)
    assert pooled[1, 3] == 1.0
    assert pooled.sum() == 1.0


def test_grid_smaller_than_the_pooling_is_kept() -> None:
    assert stubs.head("mlp", (4, 4), pool_hw=(2, 8)).pool.pool_hw == (2, 4)
