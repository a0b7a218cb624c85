"""Memory of a GPU, predicted for another micro-batch from attempts that were measured.

What torch allocates grows by a straight line with the samples of a micro-batch. Two measured
micro-batches give the line; of one, weights, gradients and optimizer are what does not grow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from launcher.measures import Measure

OUTSIDE_GB = 0.75
"""CUDA's context and libraries, which torch does not count; on an H200."""
NCCL_GB = 0.85
"""Buffers of NCCL, where several ranks talk; of two H200 of one host."""


@dataclass(frozen=True, kw_only=True)
class GpuModel:
    """One GPU [GB of 2**30 bytes]."""

    fixed_gb: float
    """What does not grow with the batch."""
    sample_gb: float
    """What each sample of a micro-batch adds."""
    gradients_gb: float
    """Held a second time where several ranks exchange them."""
    was_alone: bool
    """Whether the measured runs had one rank."""
    reserve: float
    """What torch keeps reserved for what it allocates, as a factor."""
    card_gb: float | None
    """Memory of the GPU that was measured."""
    micro_batch_size: int
    basis: str

    def peak_gb(self, micro_batch_size: int | None, world_size: int) -> float:
        """What a GPU needs in all, with what torch does not count.

        Args:
            micro_batch_size: Samples that a rank holds at once; None: as measured.
            world_size: Ranks in all.
        """
        samples = micro_batch_size or self.micro_batch_size
        exchange_gb = self.gradients_gb * ((world_size > 1) - (not self.was_alone))
        allocated_gb = self.fixed_gb + exchange_gb + samples * self.sample_gb
        outside_gb = OUTSIDE_GB + (NCCL_GB if world_size > 1 else 0.0)
        return allocated_gb * self.reserve + outside_gb

    def largest(self, card_gb: float, world_size: int, margin: float) -> int:
        """The largest micro-batch that a card holds; 0 where not even the model fits."""
        free_gb = card_gb / (1 + margin) - self.peak_gb(1, world_size)
        if free_gb < 0:
            return 0
        grows_gb = self.sample_gb * self.reserve
        return self.micro_batch_size if grows_gb <= 0 else 1 + int(free_gb / grows_gb)


def fit_gpu(measures: Sequence[Measure]) -> GpuModel | None:
    """The model of runs that trained on a GPU, newest first; None where none did."""
    usable = [one for one in measures if one.gpu_gb() and one.micro_batch_size]
    whole = [one for one in usable if one.outcome != "gpu_oom"]
    if not whole:
        return None
    # What one rank takes differs from what several take by the exchange of gradients.
    alike = [one for one in whole if (one.world_size == 1) == (whole[0].world_size == 1)]
    first = alike[0].ranks[0]
    gradients_gb = first.gradients_gb or 0.0
    points = [(one.micro_batch_size or 1, one.gpu_gb() or 0.0) for one in alike]
    line = _line(points)
    basis = f"measured with micro-batches of {', '.join(str(n) for n, _ in points)}"
    if line is None:
        known = [first.weights_gb, gradients_gb, first.optimizer_gb]
        state_gb = sum(gb or 0.0 for gb in known)
        state_gb += gradients_gb if alike[0].world_size > 1 else 0.0
        fixed_gb = min(state_gb, points[0][1])
        line = fixed_gb, (points[0][1] - fixed_gb) / points[0][0]
    return GpuModel(
        fixed_gb=line[0],
        sample_gb=line[1],
        gradients_gb=gradients_gb,
        was_alone=alike[0].world_size == 1,
        reserve=max(_reserve(one) for one in alike),
        card_gb=first.gpu_mem_gb,
        micro_batch_size=points[0][0],
        basis=basis,
    )


def _line(points: Sequence[tuple[int, float]]) -> tuple[float, float] | None:
    """Intercept and slope by least squares; None for one batch size, or where a term is below 0."""
    mean_n = sum(n for n, _ in points) / len(points)
    mean_gb = sum(gb for _, gb in points) / len(points)
    spread = sum((n - mean_n) ** 2 for n, _ in points)
    if not spread:
        return None
    slope = sum((n - mean_n) * (gb - mean_gb) for n, gb in points) / spread
    intercept = mean_gb - slope * mean_n
    return (intercept, slope) if slope >= 0 and intercept >= 0 else None


def _reserve(measure: Measure) -> float:
    uses = [use for rank in measure.ranks for use in rank.phases]
    reserved_gb = max((use.gpu_reserved_gb or 0.0 for use in uses), default=0.0)
    return max(reserved_gb / (measure.gpu_gb() or 1.0), 1.0)
