"""Masks hide what must be predicted and repeat with their generator."""

import pytest
import torch

from experiments.models.ijepa_masks import sample_masks
from experiments.settings import PretrainConfig
from launcher.errors import ConfigError


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("grid_hw", [(4, 16), (16, 16), (8, 8), (18, 73)])
def test_context_never_shows_a_target(grid_hw: tuple[int, int]) -> None:
    num_patches = grid_hw[0] * grid_hw[1]
    for seed in range(50):
        masks = sample_masks(PretrainConfig(), grid_hw, generator(seed))
        context, targets = set(masks.context.tolist()), set(masks.targets.flatten().tolist())
        assert not context & targets
        assert len(context) == len(masks.context) >= max(1, int(0.04 * num_patches))
        assert max(context | targets) < num_patches


def test_targets_are_rectangles_of_the_wanted_area() -> None:
    for seed in range(50):
        masks = sample_masks(PretrainConfig(), (16, 16), generator(seed))
        assert len(masks.targets) == 4
        assert 0.12 * 256 <= masks.targets.shape[1] <= 0.23 * 256
        for target in masks.targets:
            rows, columns = target // 16, target % 16
            height, width = rows.max() - rows.min() + 1, columns.max() - columns.min() + 1
            assert height * width == len(target)
            assert 0.6 <= height / width <= 1.7


def test_same_generator_state_gives_same_masks() -> None:
    first, again, other = (
        sample_masks(PretrainConfig(), (4, 16), generator(seed)) for seed in (5, 5, 6)
    )
    assert torch.equal(first.context, again.context)
    assert torch.equal(first.targets, again.targets)
    assert not torch.equal(first.targets, other.targets)


def test_global_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    sample_masks(PretrainConfig(), (4, 16), generator(0))
    assert torch.equal(before, torch.get_rng_state())


def test_targets_that_leave_no_context_are_refused() -> None:
    greedy = PretrainConfig(target_scale=(1.0, 1.0), target_aspect=(1.0, 1.0))
    with pytest.raises(ConfigError, match="no mask leaves 1 of 4 x 4 patches visible"):
        sample_masks(greedy, (4, 4), generator(0))
