"""Ranks that do not hold the same weights, or did not share the samples, are found out."""

import pytest
import torch

from experiments.agreement import RankReport, compare, weights_sha


def report(rank: int, sha: str = "a", samples: tuple[int, ...] = ()) -> RankReport:
    return RankReport(
        rank=rank, world_size=2, host="h", weights_sha=sha, samples=4, first_step=samples
    )


def test_two_ranks_that_share_a_batch_agree() -> None:
    compare([report(0, samples=(3, 1)), report(1, samples=(2, 0))], 2, [0, 1, 2, 3])


@pytest.mark.parametrize(
    ("reports", "message"),
    [
        ([report(0)], "the run has 2"),
        ([report(0), report(0)], "the run has 2"),
        ([report(0, "a", (0, 1)), report(1, "b", (2, 3))], "different weights"),
        ([report(0, samples=(0, 1)), report(1, samples=(0, 1))], "missing or doubled"),
        ([report(0, samples=(0, 1, 2, 3)), report(1, samples=(0, 1, 2, 3))], "missing or doubled"),
    ],
)
def test_what_is_not_one_training_is_an_error(reports: list[RankReport], message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        compare(reports, 2, [0, 1, 2, 3])


def test_one_changed_weight_changes_the_digest() -> None:
    layer = torch.nn.Linear(3, 2)
    before = weights_sha(layer)
    with torch.no_grad():
        layer.weight[0, 0] += 1e-6
    assert weights_sha(layer) != before


def test_the_layout_of_kernels_changes_no_digest() -> None:
    module = torch.nn.Sequential(torch.nn.Conv2d(4, 6, 1), torch.nn.Conv2d(6, 2, 3))
    before = weights_sha(module)
    module[0].weight.data = module[0].weight.data.as_strided((6, 4, 1, 1), (4, 1, 4, 4))
    assert weights_sha(module.to(memory_format=torch.channels_last)) == before
