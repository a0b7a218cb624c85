"""The decoder of NAVSIM's TransFuser: one query plans, thirty look for other vehicles.

What helps here is that both read the same tokens: tokens that tell where vehicles are tell more
about where to drive. Sizes, losses and their weights are the published ones (NAVSIM v1.1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.models.backbone import BackboneSpec
from experiments.models.heads.base import PlanningHead, PlanOutput
from experiments.models.heads.transfuser_agents import BOX_DIM, NUM_AGENTS, AgentLosses
from experiments.settings import COMMANDS, POSES, HeadConfig

STATUS_DIM = len(COMMANDS) + 4
AGENT_RANGE_M = 32.0
"""Vehicles are looked for within this distance along either axis."""
TRAJECTORY_WEIGHT = 10.0
"""Of the mean absolute error over metres and radians alike, as published."""
CAMERA_ANGLE = 4.0 * math.pi / 9.0
"""Vehicles more than this off the heading are no targets of a planner without LiDAR [rad]."""


class TransFuserHead(PlanningHead):
    """A transformer decoder over the tokens and the ego status.

    The plan is what comes out of the network, in metres and radians; it does not start from a
    drive at constant velocity. The status enters as it is.
    """

    is_recordable = True

    def __init__(self, config: HeadConfig, spec: BackboneSpec) -> None:
        super().__init__()
        self.targets = frozenset({"agents"})
        dim, ffn = config.dim, config.ffn_dim
        self.narrow = nn.Linear(spec.token_dim, dim)
        self.status = nn.Linear(STATUS_DIM, dim)
        self.token_positions = nn.Parameter(torch.randn(spec.num_tokens + 1, dim))
        self.queries = nn.Parameter(torch.randn(1 + NUM_AGENTS, dim))
        layer = nn.TransformerDecoderLayer(
            dim, config.num_heads, ffn, dropout=config.dropout, batch_first=True
        )
        self.decoder = nn.TransformerDecoder(layer, config.num_layers)
        self.plan = nn.Sequential(nn.Linear(dim, ffn), nn.ReLU(), nn.Linear(ffn, POSES * 3))
        self.boxes = nn.Sequential(nn.Linear(dim, ffn), nn.ReLU(), nn.Linear(ffn, BOX_DIM))
        self.is_vehicle = nn.Linear(dim, 1)
        sees_around = "lidar" in spec.sensors
        self.agent_losses = AgentLosses(max_angle=None if sees_around else CAMERA_ANGLE)

    def forward(self, tokens: Tensor, status: Tensor) -> PlanOutput:
        """Plan; `extra` holds `agent_states` (B, 30, 5) and `agent_logits` (B, 30)."""
        scene = torch.cat([self.narrow(tokens), self.status(status).unsqueeze(1)], dim=1)
        queries = self.queries.expand(len(tokens), -1, -1)
        answers = self.decoder(queries, scene + self.token_positions)
        raw = self.plan(answers[:, 0]).float().view(-1, POSES, 3)
        trajectory = torch.cat([raw[..., :2], math.pi * torch.tanh(raw[..., 2:])], dim=-1)
        agents = answers[:, 1:]
        extra = {
            "agent_states": _as_boxes(self.boxes(agents).float()),
            "agent_logits": self.is_vehicle(agents).float().squeeze(-1),
        }
        return PlanOutput(trajectory, extra)

    def loss(self, output: PlanOutput, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the imitation of the human, and class and box of the matched vehicles."""
        error = functional.l1_loss(output.trajectory, batch["trajectory"].float())
        agent_class, agent_box = self.agent_losses(
            output.extra["agent_states"],
            output.extra["agent_logits"],
            batch["agent_states"],
            batch["agent_labels"],
        )
        imitation = TRAJECTORY_WEIGHT * error
        return {"imitation": imitation, "agent_class": agent_class, "agent_box": agent_box}

    def describe(self) -> dict[str, Any]:
        """Say what is learnt beside the plan."""
        return {**super().describe(), "auxiliary": "agents", "agent_queries": NUM_AGENTS}


def _as_boxes(raw: Tensor) -> Tensor:
    """Bound x, y to the range and the heading to a turn; length and width stay as they are."""
    place, heading, size = torch.split(raw, [2, 1, 2], dim=-1)
    bounded = [AGENT_RANGE_M * torch.tanh(place), math.pi * torch.tanh(heading), size]
    return torch.cat(bounded, dim=-1)
