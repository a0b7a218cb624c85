"""The seam between tokens and plans: what every planning head offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor, nn

from experiments.data.source import Target
from experiments.models.losses import trajectory_loss


@dataclass(frozen=True)
class PlanOutput:
    """What a head says of a batch."""

    trajectory: Tensor
    """(B, 8, 3) x, y [m] and heading [rad] in the current ego frame: the plan."""
    extra: Mapping[str, Tensor] = field(default_factory=dict)
    """What else the head's own loss needs, such as logits of anchors."""


class PlanningHead(nn.Module, ABC):
    """Turns tokens and the ego status into a plan, and says how wrong it was."""

    targets: frozenset[Target] = frozenset()
    """Batch entries besides `trajectory` that `loss` reads."""
    is_recordable: ClassVar[bool] = False
    """Whether planning is always the same operations, without waiting for a GPU."""

    @abstractmethod
    def forward(self, tokens: Tensor, status: Tensor) -> PlanOutput:
        """Plan.

        Args:
            tokens: (B, N, C), row by row of the backbone's grid.
            status: (B, 8) one-hot command (4), velocity (2) [m/s], acceleration (2) [m/s^2].
        """

    def loss(self, output: PlanOutput, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weighted terms whose sum is learnt from; here the imitation of the human."""
        return {"imitation": trajectory_loss(output.trajectory, batch["trajectory"])}

    def describe(self) -> dict[str, Any]:
        """Return what a run's record says of this head, in plain values."""
        return {"parameters": sum(parameter.numel() for parameter in self.parameters())}


class FlatHead(nn.Module):
    """A head as a part that takes and returns tensors."""

    def __init__(self, head: PlanningHead) -> None:
        super().__init__()
        self.head = head
        self._names: tuple[str, ...] = ()

    def forward(self, tokens: Tensor, status: Tensor) -> tuple[Tensor, ...]:
        """Plan; the trajectory, then what is extra."""
        output: PlanOutput = self.head(tokens, status)
        self._names = tuple(output.extra)
        return output.trajectory, *output.extra.values()

    def output(self, trajectory: Tensor, *extra: Tensor) -> PlanOutput:
        """What the head said before it was taken apart."""
        return PlanOutput(trajectory, dict(zip(self._names, extra, strict=True)))
