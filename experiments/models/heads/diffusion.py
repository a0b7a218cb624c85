"""A truncated, anchored diffusion (after DiffusionDrive, arXiv 2411.15139)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.models.heads.anchors import AnchoredHead, squared_distances
from experiments.models.heads.attention import Decoder, Memory
from experiments.models.heads.base import PlanOutput
from experiments.models.heads.denoising import Noise, TimeEmbedding
from experiments.models.heads.motion import (
    SPEED_CORRECTION,
    pose_seconds,
    small_output,
)
from experiments.models.losses import HEADING_WEIGHT_M, trajectory_loss, wrapped
from experiments.settings import POSES, HeadConfig
from experiments.vocabulary import Vocabulary

PLANNING_NOISE_SEED = 0


class DiffusionHead(AnchoredHead):
    """Denoises all anchors at once, says which is best, and plans with that one.

    What a noised anchor hides is predicted as a correction of the anchor itself:
    (x, y) = anchor + 5 m/s t_k (o_x, o_y), heading = anchor + 1 rad o_heading. In training one
    step is drawn for each sample, from torch's generator, so that a resumed run repeats it. A
    plan takes `steps` steps from anchors with always the same noise, so it is deterministic.
    """

    seconds: Tensor
    planning_noise: Tensor

    def __init__(
        self,
        config: HeadConfig,
        token_dim: int,
        grid_hw: tuple[int, int],
        vocabulary: Vocabulary,
    ) -> None:
        super().__init__(config, vocabulary)
        self.config = config.diffusion
        self.memory = Memory(token_dim, grid_hw, config.dim)
        self.noise = Noise(config.diffusion)
        self.time = TimeEmbedding(config.dim)
        self.identity = nn.Linear(config.dim, config.dim)
        self.decoder = Decoder(config, looks_at_itself=config.anchor_attention)
        self.correction = small_output(config.dim, POSES * 3)
        self.confidence = small_output(config.dim, 1)
        self.register_buffer("seconds", pose_seconds().view(POSES, 1), persistent=False)
        draw = torch.Generator().manual_seed(PLANNING_NOISE_SEED)
        fixed = torch.randn(1, *self.anchors.shape, generator=draw)
        self.register_buffer("planning_noise", fixed, persistent=False)

    def forward(self, tokens: Tensor, status: Tensor) -> PlanOutput:
        """Plan; see `PlanningHead`. `extra`: `poses` (B, V, 8, 3), `confidence` (B, V) logits."""
        memory, ego = self.memory(tokens, status)
        denoised = self._train if self.training else self._plan
        poses, answers = denoised(memory, ego)
        confidence = self.confidence(answers).squeeze(-1).float() + self.log_prior(status)
        best = _of_each(poses, confidence.argmax(dim=-1))
        return PlanOutput(best, {"poses": poses, "confidence": confidence})

    def _train(self, memory: Tensor, ego: Tensor) -> tuple[Tensor, Tensor]:
        anchors = self.anchors.expand(len(memory), -1, -1, -1)
        time = self.noise.random_times(len(memory))
        noised = self.noise.add(anchors, torch.randn_like(anchors), time)
        return self._denoise(noised, time, memory, ego)

    def _plan(self, memory: Tensor, ego: Tensor) -> tuple[Tensor, Tensor]:
        anchors = self.anchors.expand(len(memory), -1, -1, -1)
        times = [
            torch.full((len(memory),), time, device=memory.device) for time in self.noise.times
        ]
        noised = self.noise.add(anchors, self.planning_noise, times[0])
        poses, answers = self._denoise(noised, times[0], memory, ego)
        for time, earlier in pairwise(times):
            noised = self.noise.back(noised, poses, time, earlier)
            poses, answers = self._denoise(noised, earlier, memory, ego)
        return poses, answers

    def _denoise(
        self, noised: Tensor, time: Tensor, memory: Tensor, ego: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the clean poses (B, V, 8, 3) and what the decoder says (B, V, D)."""
        which = self.identity(self.embedded(self.anchors))
        queries = self.embedded(noised) + which + self.time(time)[:, None] + ego
        answers = self.decoder(queries, memory)
        raw = self.correction(answers).float().view(*noised.shape)
        position = self.anchors[..., :2] + SPEED_CORRECTION * self.seconds * raw[..., :2]
        heading = wrapped(self.anchors[..., 2:] + raw[..., 2:])
        return torch.cat([position, heading], dim=-1), answers

    def loss(self, output: PlanOutput, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the error of the nearest anchor's poses, and how surely it was chosen."""
        target = batch["trajectory"]
        nearest = squared_distances(self.anchors, target, HEADING_WEIGHT_M).argmin(dim=-1)
        poses = _of_each(output.extra["poses"], nearest)
        chosen = functional.cross_entropy(output.extra["confidence"], nearest)
        return {
            "regression": trajectory_loss(poses, target),
            "classification": self.config.classification_weight * chosen,
        }

    def describe(self) -> dict[str, Any]:
        """Return the steps of a plan besides the vocabulary."""
        return {
            **super().describe(),
            "denoising_steps": self.config.steps,
            "truncated_at": self.config.truncated_at,
            "score": "S_confidence",
        }


def _of_each(poses: Tensor, which: Tensor) -> Tensor:
    """Return (B, 8, 3), of each sample the poses of one anchor."""
    return poses[torch.arange(len(poses), device=poses.device), which]
