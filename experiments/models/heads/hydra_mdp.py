"""Hydra-MDP (arXiv 2406.06978): scores every trajectory of a vocabulary and takes the best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.data import DataError
from experiments.models.heads.anchors import AnchoredHead, squared_distances
from experiments.models.heads.attention import Decoder, DecoderLayer, Memory
from experiments.models.heads.base import PlanOutput
from experiments.models.heads.hydra_rules import formula, total_score
from experiments.settings import HeadConfig
from experiments.vocabulary import Vocabulary

IMITATION_M_PER_RAD = 1.0
"""Metres that a radian counts in the imitation target."""
ROWS = "rows"
"""Entry of `PlanOutput.extra`: which anchors took part in this step."""


class HydraMdpHead(AnchoredHead):
    """Anchors attend to each other, then to tokens and status; one logit each per metric.

    Its output is an anchor, so gradients come from the logits alone: imitation (cross-entropy to
    a softmax of negative squared distances to the human trajectory) and, with a teacher, the
    teacher's scores of the anchors.
    """

    def __init__(
        self,
        config: HeadConfig,
        token_dim: int,
        grid_hw: tuple[int, int],
        vocabulary: Vocabulary,
    ) -> None:
        super().__init__(config, vocabulary)
        self.config = config
        if config.metrics:
            self.targets = frozenset({"teacher"})
        self.memory = Memory(token_dim, grid_hw, config.dim)
        # Before the status joins, anchors are the same in every scene: encoded once per batch.
        self.encoder = DecoderLayer(config, looks_at_itself=True, looks_at_memory=False)
        self.decoder = Decoder(config, looks_at_itself=config.anchor_attention)
        self.imitation = _scorer(config, num_hidden=2)
        self.metrics = nn.ModuleDict({m: _scorer(config, num_hidden=1) for m in config.metrics})

    def forward(self, tokens: Tensor, status: Tensor) -> PlanOutput:
        """Plan; see `PlanningHead`. `extra` holds (B, V) logits by name, and `rows` (V,)."""
        rows = self._rows()
        anchors = self.anchors[rows]
        memory, ego = self.memory(tokens, status)
        queries = self.encoder(self.embedded(anchors)[None])
        answers = self.decoder(queries + ego, memory)
        imitation = self.imitation(answers).squeeze(-1).float() + self.log_prior(status)[:, rows]
        logits = {m: scorer(answers).squeeze(-1).float() for m, scorer in self.metrics.items()}
        chosen = total_score(self.config, imitation.detach(), logits).argmax(dim=-1)
        return PlanOutput(anchors[chosen], {"imitation": imitation, **logits, ROWS: rows})

    def _rows(self) -> Tensor:
        """Return the anchors of this step; in training, drawn from torch's generator."""
        count, device = len(self.anchors), self.anchors.device
        if not (self.training and self.config.anchor_dropout):
            return torch.arange(count, device=device)
        kept = max(2, round(count * (1.0 - self.config.anchor_dropout)))
        return torch.randperm(count, device=device)[:kept].sort().values

    def loss(self, output: PlanOutput, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return imitation and, with a teacher, one term per metric, each with its weight."""
        config, rows = self.config, output.extra[ROWS]
        distances = squared_distances(self.anchors[rows], batch["trajectory"], IMITATION_M_PER_RAD)
        target = functional.softmax(-distances / config.imitation_sigma_m2, dim=-1)
        imitation = functional.cross_entropy(output.extra["imitation"], target)
        terms = {"imitation": config.hydra_loss.imitation * imitation}
        if config.metrics:
            scores = self._scores(batch)[:, rows]
            for metric in config.metrics:
                column = scores[..., config.teacher_metrics.index(metric)]
                term = self._distance(metric, output.extra[metric], column)
                terms[metric] = getattr(config.hydra_loss, metric) * term
        return terms

    def _scores(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the teacher's scores (B, V, M) in [0, 1]; bytes hold 255 times as much."""
        scores = batch["teacher"]
        expected = (len(self.anchors), len(self.config.teacher_metrics))
        if tuple(scores.shape[1:]) != expected:
            raise DataError(
                f"the teacher scored {scores.shape[1]} trajectories by {scores.shape[2]} metrics,"
                f" the head has {expected[0]} anchors and {expected[1]} head.teacher_metrics",
                hint="score the vocabulary that this head is built with",
            )
        return scores.float() / 255.0 if scores.dtype == torch.uint8 else scores.float()

    def _distance(self, metric: str, logits: Tensor, target: Tensor) -> Tensor:
        if metric == "ep" and self.config.ep_loss == "mse":
            return functional.mse_loss(torch.sigmoid(logits), target)
        return functional.binary_cross_entropy_with_logits(logits, target)

    def describe(self) -> dict[str, Any]:
        """Return what is learnt and by which rule anchors are chosen, besides the vocabulary."""
        config = self.config
        return {
            **super().describe(),
            "preset": config.preset,
            "teacher": config.teacher,
            "learns": ["imitation", *config.metrics],
            "ep": config.ep_loss if "ep" in config.metrics else None,
            "rule": config.rule if config.metrics else None,
            "score": formula(config),
        }


def _scorer(config: HeadConfig, *, num_hidden: int) -> nn.Sequential:
    """Return a perceptron with one logit per anchor."""
    layers: list[nn.Module] = [nn.Linear(config.dim, config.ffn_dim), nn.ReLU()]
    for _ in range(num_hidden - 1):
        layers += [nn.Linear(config.ffn_dim, config.ffn_dim), nn.ReLU()]
    output = nn.Linear(config.ffn_dim, 1)
    nn.init.normal_(output.weight, std=0.01)
    nn.init.zeros_(output.bias)
    return nn.Sequential(*layers, output)
