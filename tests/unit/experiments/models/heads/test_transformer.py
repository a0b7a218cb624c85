"""Queries answer for consecutive poses, and more of them cost parameters."""

import pytest
import torch

from launcher.errors import ConfigError
from tests.unit.experiments.models.heads import stubs


@pytest.mark.parametrize("num_queries", [1, 2, 8])
def test_queries_share_the_poses_in_order(num_queries: int) -> None:
    head = stubs.head("transformer", num_queries=num_queries)
    torch.nn.init.zeros_(head.output.weight)
    per_query = 8 // num_queries
    head.output.bias.data[-3:] = torch.tensor([1.0, 0.0, 0.0])
    poses = head(stubs.tokens(1), stubs.status(1, (0.0, 0.0))).trajectory[0]
    moved = (poses[:, 0] > 0.0).nonzero().flatten().tolist()
    assert moved == list(range(per_query - 1, 8, per_query))


def test_queries_that_do_not_divide_the_poses_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"`head.num_queries=3` does not divide the 8 poses"):
        stubs.config("transformer", num_queries=3)


def test_width_that_its_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"`head.dim=30` does not fit `head.num_heads=4`"):
        stubs.config("transformer", dim=30, num_heads=4)


def test_a_dead_memory_leaves_only_the_status() -> None:
    head = stubs.head("transformer").eval()
    for layer in head.decoder.layers:
        torch.nn.init.zeros_(layer.cross.inner.output.weight)
    one, other = (head(stubs.tokens(1), stubs.status()).trajectory for _ in range(2))
    assert torch.equal(one, other)
    moving = head(stubs.tokens(1), stubs.status(1, (9.0, 0.0))).trajectory
    assert not torch.equal(one, moving)
