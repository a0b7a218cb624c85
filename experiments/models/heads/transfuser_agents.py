"""What thirty unordered guesses cost against the vehicles that were there."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn import functional

from experiments.devices import has_triton
from experiments.models.backbone import require_shape

NUM_AGENTS = 30
BOX_DIM = 5
"""x, y [m], heading [rad], length, width [m] in the ego frame."""
CLASS_WEIGHT = 10.0
BOX_WEIGHT = 1.0


class AgentLosses(nn.Module):
    """Match guesses to vehicles one to one at least cost, then sum what the matches cost.

    A match costs 10 x the cross-entropy of "there is a vehicle" and 1 x its distance along x and
    y. The box loss adds up all five numbers and is divided by the vehicles of the micro-batch, as
    published; so it weighs a vehicle, not a sample, alike.
    """

    matches_on_gpu = True
    """Whether a GPU matches by a kernel of ours; the host has it wait in the middle of a step."""

    def __init__(self, *, max_angle: float | None) -> None:
        """Take all vehicles, or only those within `max_angle` of the heading [rad]."""
        super().__init__()
        self.max_angle = max_angle

    def forward(
        self, states: Tensor, logits: Tensor, true_states: Tensor, is_there: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the weighted terms of classes and of boxes.

        Args:
            states: Guessed boxes (B, 30, 5).
            logits: Of "there is a vehicle" (B, 30).
            true_states: Vehicles, float32 (B, 30, 5).
            is_there: Which of those entries are vehicles, bool (B, 30).
        """
        require_shape("agent_states", true_states, (NUM_AGENTS, BOX_DIM))
        require_shape("agent_labels", is_there, (NUM_AGENTS,))
        true_states, is_there = true_states.float(), is_there.bool() & self._in_view(true_states)
        cost = matching_cost(states, logits, true_states)
        on_gpu = self.matches_on_gpu and cost.is_cuda and has_triton()
        vehicle = assigned_on_gpu(cost, is_there) if on_gpu else assigned(cost, is_there)
        # The true boxes are put in the order of the guesses: gradients then pass no index.
        wanted = (vehicle >= 0).float()
        place = vehicle.clamp(min=0).unsqueeze(-1).expand(-1, -1, BOX_DIM)
        distance = (states - true_states.gather(1, place)).abs().sum(dim=-1) * wanted
        return (
            CLASS_WEIGHT * functional.binary_cross_entropy_with_logits(logits, wanted),
            BOX_WEIGHT * distance.sum() / wanted.sum().clamp(min=1.0),
        )

    def _in_view(self, states: Tensor) -> Tensor:
        angle = torch.atan2(states[..., 1], states[..., 0]).abs()
        return angle <= (self.max_angle if self.max_angle is not None else float("inf"))


@torch.no_grad()
def matching_cost(states: Tensor, logits: Tensor, true_states: Tensor) -> Tensor:
    """Return (B, vehicles, guesses): what a guess costs with a vehicle beyond without one.

    Guesses that no vehicle is left for cost the same whatever else they are matched to.
    """
    gaps = states[:, None, :, :2].float() - true_states[:, :, None, :2]
    return BOX_WEIGHT * gaps.abs().sum(dim=-1) - CLASS_WEIGHT * logits.float().unsqueeze(1)


def assigned(cost: Tensor, is_there: Tensor) -> Tensor:
    """Return int64 (B, guesses): which vehicle each has at least total cost (Hungarian), or -1.

    Args:
        cost: (B, vehicles, guesses).
        is_there: bool (B, vehicles).
    """
    told = torch.cat([cost, is_there.float().unsqueeze(2)], dim=2).cpu().numpy()  # waits once
    found = np.stack([_assigned(sample[:, :-1], sample[:, -1] > 0.0) for sample in told])
    return torch.from_numpy(found).to(cost.device)


def _assigned(cost: NDArray[np.float32], is_there: NDArray[np.bool_]) -> NDArray[np.int64]:
    there, vehicle = np.flatnonzero(is_there), np.full(cost.shape[1], -1)
    rows, guesses = linear_sum_assignment(cost[there])
    vehicle[guesses] = there[rows]
    return vehicle


def assigned_on_gpu(cost: Tensor, is_there: Tensor) -> Tensor:
    """Return what `assigned` does, without waiting for the GPU."""
    from experiments.models.heads import assignment_kernel

    return assignment_kernel.assign(cost, is_there).long()
