"""What thirty unordered guesses cost against the vehicles that were there."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn import functional

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

    def __init__(self, *, max_angle: float | None) -> None:
        """Take all vehicles, or only those within `max_angle` of the heading [rad]."""
        super().__init__()
        self.max_angle = max_angle

    def forward(
        self, states: Tensor, logits: Tensor, batch: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the weighted terms.

        Args:
            states: Guessed boxes (B, 30, 5).
            logits: Of "there is a vehicle" (B, 30).
            batch: `agent_states` float32 (B, 30, 5) and `agent_labels` bool (B, 30).
        """
        true_states, is_there = batch["agent_states"], batch["agent_labels"]
        require_shape("agent_states", true_states, (NUM_AGENTS, BOX_DIM))
        require_shape("agent_labels", is_there, (NUM_AGENTS,))
        true_states, is_there = true_states.float(), is_there.bool() & self._in_view(true_states)
        # The true boxes are put in the order of the guesses: gradients then pass no index.
        order = match(states, logits, true_states, is_there)
        wanted = is_there.gather(1, order).float()
        boxes = true_states.gather(1, order.unsqueeze(-1).expand(-1, -1, BOX_DIM))
        distance = (states - boxes).abs().sum(dim=-1) * wanted
        return {
            "agent_class": CLASS_WEIGHT
            * functional.binary_cross_entropy_with_logits(logits, wanted),
            "agent_box": BOX_WEIGHT * distance.sum() / wanted.sum().clamp(min=1.0),
        }

    def _in_view(self, states: Tensor) -> Tensor:
        angle = torch.atan2(states[..., 1], states[..., 0]).abs()
        return angle <= (self.max_angle if self.max_angle is not None else float("inf"))


@torch.no_grad()
def match(states: Tensor, logits: Tensor, true_states: Tensor, is_there: Tensor) -> Tensor:
    """Return (B, 30) which true agent each guess is matched to, at least total cost (Hungarian).

    Guesses that no vehicle is left for are matched to entries without one, in any order: those
    cost each guess the same, so they are no part of the problem that is solved.
    """
    gaps = states[:, :, None, :2].float() - true_states[:, None, :, :2]
    # What a guess costs with a vehicle beyond what it costs without one.
    cost = BOX_WEIGHT * gaps.abs().sum(dim=-1) - CLASS_WEIGHT * logits.float().unsqueeze(2)
    told = torch.cat([cost, is_there.float().unsqueeze(1)], dim=1).cpu().numpy()  # waits once
    orders = np.stack([_order(sample[:-1], sample[-1] > 0.0) for sample in told])
    return torch.from_numpy(orders).to(states.device)


def _order(cost: NDArray[np.float32], is_there: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the column of each row: of those that are there at least cost, then the others."""
    there = np.flatnonzero(is_there)
    columns, rows = linear_sum_assignment(cost[:, there].T)
    order = np.full(len(cost), -1)
    order[rows] = there[columns]
    order[order < 0] = np.flatnonzero(~is_there)
    return order
