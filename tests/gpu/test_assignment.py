"""A GPU matches vehicles as the CPU does."""

import numpy as np
import pytest
import torch

from experiments.models.heads.transfuser_agents import assigned, assigned_on_gpu

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_vehicles_are_matched_as_on_the_cpu(share: float) -> None:
    draw = torch.Generator().manual_seed(0)
    cost = 20 * torch.randn(256, 30, 30, generator=draw)
    is_there = torch.rand(256, 30, generator=draw) < share
    found = assigned_on_gpu(cost.cuda(), is_there.cuda())
    np.testing.assert_array_equal(found.cpu(), assigned(cost, is_there))


def test_numbers_that_are_none_end() -> None:
    cost = torch.full((8, 30, 30), float("nan"), device="cuda")
    assert assigned_on_gpu(cost, torch.ones(8, 30, dtype=torch.bool, device="cuda")).shape == (
        8,
        30,
    )
