"""A batch is copied to a GPU beside what it does, and is there when it is read."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from experiments.devices import moved_beside

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
CYCLES = 400_000_000
"""A fifth of a second."""
WINDOWS = 1 << 22


def copied(value: float) -> tuple[dict[str, Tensor], torch.cuda.Event]:
    """A batch of one value on the GPU, and what tells that its copy is done."""
    device = torch.device("cuda", torch.cuda.current_device())
    there, done = torch.full((WINDOWS,), value).pin_memory(), torch.cuda.Event()

    def move() -> dict[str, Tensor]:
        batch = {"image": there.to(device, non_blocking=True)}
        done.record()
        return batch

    return dict(moved_beside(move, device)), done


@pytest.fixture(autouse=True)
def _settled() -> None:
    for _ in range(3):
        copied(0.0)
        torch.cuda._sleep(1000)
    torch.cuda.synchronize()


def test_the_copy_does_not_wait_for_the_step_before() -> None:
    torch.cuda._sleep(CYCLES)
    step = torch.cuda.Event()
    step.record()
    _, done = copied(1.0)
    done.synchronize()
    assert not step.query()


def test_what_reads_it_waits_for_the_copy() -> None:
    device = torch.device("cuda", torch.cuda.current_device())
    there = torch.ones(WINDOWS).pin_memory()

    def late() -> dict[str, Tensor]:
        torch.cuda._sleep(CYCLES)
        return {"image": there.to(device, non_blocking=True)}

    assert moved_beside(late, device)["image"].sum().item() == WINDOWS


def test_a_batch_that_is_still_read_is_not_overwritten_by_the_next() -> None:
    batch, _ = copied(1.0)
    torch.cuda._sleep(CYCLES)
    total = batch["image"].sum()
    del batch
    others = [copied(2.0)[0] for _ in range(3)]
    assert total.item() == WINDOWS
    assert all(other["image"][0].item() == 2.0 for other in others)
