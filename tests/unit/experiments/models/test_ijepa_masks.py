"""Masks hide what must be predicted, for each image its own, and repeat with their generator."""

import pytest
import torch

from experiments.models.ijepa_masks import BlockMasks, sample_masks
from experiments.settings import PretrainConfig
from launcher.errors import ConfigError


def sampled(seed: int, grid_hw: tuple[int, int] = (4, 16), num_images: int = 5) -> BlockMasks:
    generator = torch.Generator().manual_seed(seed)
    return sample_masks(PretrainConfig(), grid_hw, generator, num_images)


@pytest.mark.parametrize("grid_hw", [(4, 16), (16, 16), (8, 8), (3, 12), (18, 73)])
def test_context_never_shows_a_target_of_its_image(grid_hw: tuple[int, int]) -> None:
    num_patches = grid_hw[0] * grid_hw[1]
    for seed in range(10):
        masks = sampled(seed, grid_hw)
        for context, targets in zip(masks.context.tolist(), masks.targets.tolist(), strict=True):
            hidden = {patch for block in targets for patch in block}
            assert not set(context) & hidden
            assert len(set(context)) == len(context) >= max(1, int(0.04 * num_patches))
            assert context == sorted(context)
            assert max(*context, *hidden) < num_patches


def test_targets_are_rectangles_of_the_published_area_and_aspect() -> None:
    for seed in range(20):
        targets = sampled(seed, (16, 16)).targets
        assert targets.shape[:2] == (5, 4)
        assert 0.12 * 256 <= targets.shape[2] <= 0.23 * 256
        for target in targets.flatten(0, 1):
            rows, columns = target // 16, target % 16
            height, width = rows.max() - rows.min() + 1, columns.max() - columns.min() + 1
            assert height * width == len(target)
            assert 0.6 <= height / width <= 1.7


def test_blocks_reach_every_border_of_the_grid() -> None:
    seen = torch.zeros(16 * 16, dtype=torch.bool)
    for seed in range(10):
        seen[sampled(seed, (16, 16), 20).targets.flatten()] = True
    border = seen.view(16, 16)
    assert border[0].any()
    assert border[-1].any()
    assert border[:, 0].any()
    assert border[:, -1].any()


def test_images_of_a_batch_have_places_of_their_own_and_sizes_in_common() -> None:
    masks = sampled(0, (16, 16), 8)
    assert len({tuple(row.flatten().tolist()) for row in masks.targets}) == 8
    assert len({tuple(row.tolist()) for row in masks.context}) == 8


def test_patches_are_lost_at_random_and_not_from_the_bottom() -> None:
    rows = torch.cat([sampled(seed, (16, 16), 64).context.flatten() // 16 for seed in range(10)])
    top, bottom = (rows < 8).float().mean(), (rows >= 8).float().mean()
    assert top == pytest.approx(bottom.item(), abs=0.1)


def test_same_generator_state_gives_same_masks() -> None:
    first, again, other = (sampled(seed) for seed in (5, 5, 6))
    assert torch.equal(first.context, again.context)
    assert torch.equal(first.targets, again.targets)
    assert first.targets.shape != other.targets.shape or not torch.equal(
        first.targets, other.targets
    )


def test_rows_are_the_masks_of_some_images() -> None:
    masks = sampled(1)
    part = masks.rows(2, 2)
    assert torch.equal(part.context, masks.context[2:4])
    assert torch.equal(part.targets, masks.targets[2:4])


def test_global_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    sampled(0)
    assert torch.equal(before, torch.get_rng_state())


def test_targets_that_leave_no_context_are_refused() -> None:
    greedy = PretrainConfig(target_scale=(1.0, 1.0), target_aspect=(1.0, 1.0))
    with pytest.raises(ConfigError, match="no mask leaves 1 of 4 x 4 patches visible"):
        sample_masks(greedy, (4, 4), torch.Generator().manual_seed(0), 2)
