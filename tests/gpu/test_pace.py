"""A host does not leave its GPU far behind."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from launcher.callbacks.pace import Pace

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
CYCLES = 200_000_000
"""A tenth of a second."""


def test_two_batches_are_given_ahead() -> None:
    trainer: Any = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("cuda")))
    pace, done = Pace(), []
    for number in range(6):
        torch.cuda._sleep(CYCLES)
        done.append(torch.cuda.Event())
        done[-1].record()
        pace.on_train_batch_end(trainer)
        assert all(event.query() for event in done[: max(number - 1, 0)])
        assert not done[-1].query()
