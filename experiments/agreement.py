"""After training, all ranks must hold the same weights and must have shared the samples."""

from __future__ import annotations

import hashlib
import logging
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import nn

from launcher.context import RunContext

log = logging.getLogger(__name__)


class SamplesSeen(pl.Callback):
    """Counts the samples that this rank trained on, and notes those of its first step."""

    def __init__(self, accumulation: int) -> None:
        self.count = 0
        self.first_step: list[int] | None = []
        """None in a life that did not begin with the first step."""
        self._left = accumulation

    def state_dict(self) -> dict[str, Any]:
        """Keep the count over all lives of a training."""
        return {"count": self.count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.count = state_dict["count"]
        if self.count:
            self.first_step, self._left = None, 0

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Look at the batch itself, not at what a sampler promised."""
        windows: NDArray[np.int64] = batch["index"]
        self.count += len(windows)
        if self._left and self.first_step is not None:
            self._left -= 1
            self.first_step += windows.tolist()


@dataclass(frozen=True, kw_only=True)
class RankReport:
    """What one rank says of itself."""

    rank: int
    world_size: int
    host: str
    weights_sha: str
    samples: int
    first_step: tuple[int, ...] | None


def check_ranks_agree(
    module: nn.Module, seen: SamplesSeen, context: RunContext, first_batch: Sequence[int]
) -> list[RankReport]:
    """Gather what all ranks say, log it on each, and compare.

    Args:
        module: The trained module.
        seen: What this rank trained on.
        context: Which rank this is.
        first_batch: Samples of the first global batch, in any order.

    Raises:
        RuntimeError: weights differ, a rank is missing, or the ranks did not share the samples.
    """
    mine = RankReport(
        rank=context.rank,
        world_size=dist.get_world_size() if dist.is_initialized() else 1,
        host=socket.gethostname(),
        weights_sha=weights_sha(module),
        samples=seen.count,
        first_step=None if seen.first_step is None else tuple(seen.first_step),
    )
    reports = _gather(mine)
    for report in reports:
        log.info(
            "rank %d of %d on %s: trained on %d samples, weights %s",
            report.rank,
            report.world_size,
            report.host,
            report.samples,
            report.weights_sha,
        )
    compare(reports, context.world_size, first_batch)
    return reports


def _gather(mine: RankReport) -> list[RankReport]:
    if mine.world_size == 1:
        return [mine]
    gathered: list[Any] = [None] * mine.world_size
    dist.all_gather_object(gathered, mine)
    return gathered


def compare(reports: Sequence[RankReport], world_size: int, first_batch: Sequence[int]) -> None:
    """Raise RuntimeError unless the reports are those of one training over `world_size` ranks."""
    if sorted(report.rank for report in reports) != list(range(world_size)):
        raise RuntimeError(
            f"ranks {[report.rank for report in reports]} trained, the run has {world_size}"
        )
    if len({report.weights_sha for report in reports}) != 1:
        raise RuntimeError(
            "ranks ended with different weights: "
            + ", ".join(f"rank {r.rank} has {r.weights_sha}" for r in reports)
        )
    if len({report.samples for report in reports}) != 1:
        raise RuntimeError(f"ranks saw {[r.samples for r in reports]} samples")
    if any(report.first_step is None for report in reports):
        return  # an earlier life saw the first batch, and its end was compared
    if sorted(i for r in reports for i in r.first_step or ()) != sorted(first_batch):
        raise RuntimeError("the ranks did not share the first batch: samples missing or doubled")


def weights_sha(module: nn.Module) -> str:
    """Digest of all trainable parameters, in their order."""
    total = hashlib.sha256()
    for parameter in module.parameters():
        if parameter.requires_grad:
            # Flat: a 1 x 1 kernel with channels last counts as contiguous, but cannot be viewed.
            value = parameter.detach().cpu().contiguous().flatten()
            total.update(value.view(torch.uint8).numpy().tobytes())
    return total.hexdigest()[:12]
