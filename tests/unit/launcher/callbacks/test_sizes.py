"""Bytes and samples of what a rank holds."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, DistributedSampler, IterableDataset, Subset, TensorDataset

from launcher.callbacks import sizes

POINTS = TensorDataset(torch.zeros(20, 3))
Pair = namedtuple("Pair", "image label")


@dataclass
class Scene:
    names: list[str]
    image: torch.Tensor


class Own:
    """A batch sampler of somebody's own; its batch is that of all ranks."""

    batch_size = 99

    def __iter__(self) -> Any:
        return iter([[0, 1, 2, 3]])

    def __len__(self) -> int:
        return 1


class Stream(IterableDataset[torch.Tensor]):
    def __iter__(self) -> Any:
        return iter(torch.zeros(4, 2))


@pytest.mark.parametrize(
    "batch",
    [
        torch.zeros(4, 256),
        {"x": [torch.zeros(4, 128), (torch.zeros(4, 128),)], "ids": ["a"]},
        Pair(torch.zeros(4, 128), torch.zeros(4, 128)),
        Scene(["a"], torch.zeros(4, 256)),
    ],
)
def test_tensors_are_found_however_a_batch_nests_them(batch: Any) -> None:
    assert sizes.bytes_of(sizes.tensors(batch)) == 4 * 256 * 4
    assert sizes.first_dimension(batch) == 4


def test_a_batch_without_tensors_has_no_known_size() -> None:
    assert sizes.first_dimension({"names": ["a"]}) is None
    assert sizes.first_dimension(torch.tensor(3.0)) is None


def test_the_batch_of_a_foreign_sampler_is_not_believed() -> None:
    assert sizes.batch_size_of(DataLoader(POINTS, batch_size=5)) == 5
    assert sizes.batch_size_of(DataLoader(POINTS, batch_sampler=Own())) is None  # type: ignore[arg-type]
    assert sizes.batch_size_of(DataLoader(Stream(), batch_size=None)) is None


def test_a_loader_is_described() -> None:
    loader = DataLoader(POINTS, batch_size=5, num_workers=2, persistent_workers=True)
    use = sizes.loader_use(loader, "train")
    assert (use.workers, use.is_persistent, use.prefetch, use.samples) == (2, True, 2, 20)
    plain = sizes.loader_use(DataLoader(POINTS), "train")
    assert (plain.workers, plain.is_persistent, plain.prefetch) == (0, False, None)
    assert sizes.loader_use(DataLoader(Stream(), batch_size=None), "train").samples is None
    assert sizes.loader_use(object(), "train").workers == 0


def test_samples_of_a_validation_count_over_all_ranks() -> None:
    share = DataLoader(Subset(POINTS, range(10)), batch_size=5)
    assert sizes.loader_use(share, "validate", world_size=2).samples == 20
    distributed = DistributedSampler(POINTS, num_replicas=2, rank=0)
    both = DataLoader(POINTS, batch_size=5, sampler=distributed)
    assert sizes.loader_use(both, "validate", world_size=2).samples == 20


def test_weights_gradients_and_optimizer_are_weighed() -> None:
    model = torch.nn.Linear(1024, 1024, bias=False)
    model.register_buffer("mean", torch.zeros(1024, 256))
    adam = torch.optim.AdamW(model.parameters())
    assert sizes.gradients_gb(model) == sizes.optimizer_gb([adam]) == 0
    model(torch.zeros(1, 1024)).sum().backward()
    adam.step()
    mb = 1 / 1024
    assert sizes.weights_gb(model) == pytest.approx(5 * mb, rel=0.01)
    assert sizes.gradients_gb(model) == pytest.approx(4 * mb, rel=0.01)
    assert sizes.optimizer_gb([adam]) == pytest.approx(8 * mb, rel=0.01)
