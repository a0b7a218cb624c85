"""The head starts at constant velocity, stays in range, and learns quickly."""

import math

import torch

from experiments.models.backbone import BackboneSpec
from experiments.models.head import MlpHead, build_head
from experiments.models.planning import trajectory_loss
from experiments.settings import HeadConfig
from tests.unit.experiments.models import tiny


def spec(grid_hw: tuple[int, int] = (4, 16)) -> BackboneSpec:
    return BackboneSpec(
        name="stub",
        token_dim=12,
        grid_hw=grid_hw,
        sensors=frozenset({"image"}),
        input_hw=(48, 192),
    )


def test_silent_network_drives_on_at_constant_velocity() -> None:
    head = build_head(HeadConfig(), spec())
    torch.nn.init.zeros_(head.output.weight)
    status = torch.zeros(1, 8)
    status[0, 4:6] = torch.tensor([6.0, -1.0])
    poses = head(torch.randn(1, 64, 12), status)
    assert poses.shape == (1, 8, 3)
    torch.testing.assert_close(poses[0, -1], torch.tensor([24.0, -4.0, 0.0]))
    torch.testing.assert_close(poses[0, 0], torch.tensor([3.0, -0.5, 0.0]))


def test_heading_stays_within_pi() -> None:
    head = build_head(HeadConfig(), spec())
    torch.nn.init.normal_(head.output.weight, std=100.0)
    heading = head(torch.randn(4, 64, 12), torch.randn(4, 8))[..., 2]
    assert heading.abs().max() <= math.pi


def test_pooling_keeps_neighbours_together() -> None:
    head = build_head(HeadConfig(pool_hw=(2, 8)), spec())
    grid = torch.zeros(4, 16)
    grid[2:, 6:8] = 1.0
    pooled = (head.pooling @ grid.flatten()).view(2, 8)
    assert pooled[1, 3] == 1.0
    assert pooled.sum() == 1.0


def test_grid_smaller_than_the_pooling_is_kept() -> None:
    head = build_head(HeadConfig(pool_hw=(2, 8)), spec(grid_hw=(4, 4)))
    assert head.pool_hw == (2, 4)


def test_every_status_entry_matters() -> None:
    head = build_head(HeadConfig(), spec())
    tokens, status = torch.randn(1, 64, 12), torch.zeros(1, 8)
    still = head(tokens, status)
    for entry in range(8):
        changed = status.clone()
        changed[0, entry] = 1.0
        assert not torch.equal(head(tokens, changed), still), entry


def test_head_alone_learns_long_drives_within_two_hundred_steps() -> None:
    head = MlpHead(HeadConfig(hidden_dim=64), 12, (4, 16))
    batch = tiny.batch(32)
    meaning = torch.stack(
        [batch["trajectory"][:, -1, 0] / 40, batch["trajectory"][:, -1, 1] / 8], 1
    )
    tokens = torch.randn(1, 64, 12) + (meaning @ torch.randn(2, 12))[:, None]
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-3)
    for _ in range(200):
        predicted = head(tokens, batch["status"])
        loss = tiny.step(optimizer, trajectory_loss(predicted, batch["trajectory"]))
    assert loss < 1.0
