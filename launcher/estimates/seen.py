"""One measured attempt, taken apart into what ranks, workers and the kernel took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from launcher.estimates.loaders import Loaders, Stage
from launcher.estimates.needs import NONE, Needs
from launcher.estimates.workers import Look, Worker
from launcher.records import Phase


@dataclass(frozen=True, kw_only=True)
class PhaseSeen:
    """One phase on the fullest node of an attempt."""

    node_gb: float
    """All that the job held there."""
    workers: dict[Stage, int]
    """Workers of each rank that lived in it, by what they serve."""


@dataclass(frozen=True, kw_only=True)
class State:
    """Tensors of a rank [GB]."""

    weights_gb: float = 0.0
    gradients_gb: float = 0.0
    optimizer_gb: float = 0.0

    @property
    def all_gb(self) -> float:
        """All of them."""
        return self.weights_gb + self.gradients_gb + self.optimizer_gb


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One attempt, taken apart."""

    label: str
    world_size: int
    ranks_per_node: int
    loaders: Loaders
    phases: dict[Phase, PhaseSeen]
    worker_looks: tuple[Look, ...]
    """Looks at its workers, of which both kinds may have lived at once."""
    process_gb: float
    """What the kernel takes for each process: page tables, stacks, its part of the job's shell."""
    knows_kernel: bool
    """Whether that was measured."""
    in_flight: dict[Stage, float]
    """Batches that a worker of each loader has ready."""
    sample_gb: dict[Stage, float]
    """Tensors of a batch of each loader, by the samples that a rank holds at once."""
    micro_batch_size: int = 1
    validations: int = 0
    """How often it validated."""
    is_cut_short: bool = False
    """Whether it ran out of memory: its figures are the least that it needs."""
    has_gpu: bool = False
    """Whether its tensors are in the memory of a GPU, hence not of the node."""
    state: State = field(default_factory=State)
    kept_gb: dict[Stage, float] = field(default_factory=dict)
    """State that workers of a kind share and keep as it was when they were forked."""
    needs: Needs = NONE

    def rank_gb(self, phase: Phase, workers: Mapping[Stage, Worker], process_gb: float) -> float:
        """What a rank holds with all that its workers share, but not what they hold alone.

        Args:
            phase: One that was seen.
            workers: What one of each kind holds.
            process_gb: What the kernel takes for each process.
        """
        seen = self.phases[phase]
        alone_gb = process_gb
        for stage, count in seen.workers.items():
            if count:
                held_gb = workers[stage].all_gb(self.micro_batch_size) + self.needs.worker_gb
                alone_gb += count * (held_gb + process_gb)
        return max((seen.node_gb - self.needs.node_gb) / self.ranks_per_node - alone_gb, 0.0)

    def lives(self, stage: Stage, phase: Phase) -> bool | None:
        """Whether workers that serve `stage` lived in a phase; None where that was not seen."""
        if not self.loaders.count(stage) or phase not in self.phases:
            return None
        if self.phases[phase].workers[stage]:
            return True
        # Those for validation may outlive it, which shows when training goes on.
        is_too_soon = stage == "validate" and phase != "start" and self.validations < 2
        return None if is_too_soon else False
