"""The matrices do exactly what PyTorch's pooling and interpolation do."""

import pytest
import torch
from torch.nn import functional

from experiments.models.resampling import Resample

SIZES = [((8, 32), (2, 8)), ((3, 12), (2, 6)), ((2, 2), (4, 4)), ((5, 7), (3, 2)), ((4, 4), (4, 4))]


@pytest.mark.parametrize(("hw_in", "hw_out"), SIZES)
def test_pooling_equals_adaptive_average_pooling(
    hw_in: tuple[int, int], hw_out: tuple[int, int]
) -> None:
    maps = torch.randn(2, 3, *hw_in)
    expected = functional.adaptive_avg_pool2d(maps, hw_out)
    torch.testing.assert_close(Resample.pool(hw_in, hw_out)(maps), expected)


@pytest.mark.parametrize(("hw_in", "hw_out"), SIZES)
def test_resizing_equals_bilinear_interpolation(
    hw_in: tuple[int, int], hw_out: tuple[int, int]
) -> None:
    maps = torch.randn(2, 3, *hw_in)
    expected = functional.interpolate(maps, hw_out, mode="bilinear", align_corners=False)
    torch.testing.assert_close(Resample.bilinear(hw_in, hw_out)(maps), expected)


def test_resampling_leaves_no_trace_in_the_state() -> None:
    assert not Resample.pool((4, 4), (2, 2)).state_dict()
