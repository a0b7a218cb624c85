"""The recurrent head goes on from its own last pose."""

import torch

from tests.unit.experiments.models.heads import stubs


def test_poses_add_up() -> None:
    head = stubs.head("gru")
    torch.nn.init.zeros_(head.output.weight)
    head.output.bias.data[:] = torch.tensor([0.2, 0.0, 100.0])
    poses = head(stubs.tokens(1), stubs.status(1, (6.0, 0.0))).trajectory[0]
    torch.testing.assert_close(poses[:, 0], 3.5 * torch.arange(1.0, 9.0))
    torch.testing.assert_close(poses[:, 2], torch.pi / 8 * torch.arange(1.0, 9.0))


def test_a_pose_depends_on_the_one_before() -> None:
    head = stubs.head("gru")
    torch.nn.init.normal_(head.output.weight, std=1.0)
    tokens = stubs.tokens(1)
    first = head(tokens, stubs.status()).trajectory
    head.cell.weight_ih.data[:, :3] = 0.0  # the cell reads its last pose no more
    second = head(tokens, stubs.status()).trajectory
    torch.testing.assert_close(first[:, 0], second[:, 0])
    assert not torch.allclose(first[:, 1:], second[:, 1:])
