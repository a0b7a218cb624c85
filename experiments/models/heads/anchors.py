"""What heads share that choose among the trajectories of a vocabulary."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from experiments.models.backbone import first_parameter
from experiments.models.heads.base import PlanningHead
from experiments.models.heads.exact import Exact
from experiments.models.heads.motion import pose_seconds, velocity_of
from experiments.models.losses import wrapped
from experiments.settings import POSES, HeadConfig
from experiments.vocabulary import Vocabulary

EMBEDDING_SCALE = (20.0, 10.0, 1.0)
"""x, y [m] and heading [rad] that enter the network as 1."""
PRIOR_STD_MPS = 2.0
"""How far the mean speed up to a pose may stray from the present velocity [m/s]."""


class AnchoredHead(Exact, PlanningHead):
    """Holds the anchors; a checkpoint with other ones is refused."""

    anchors: Tensor
    steady: Tensor
    size: Tensor

    def __init__(self, config: HeadConfig, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.vocabulary_sha256 = vocabulary.sha256
        anchors = torch.from_numpy(vocabulary.anchors.copy())
        self.register_buffer("anchors", anchors)
        steady, size = _prior_terms(anchors)
        self.register_buffer("steady", steady, persistent=False)
        self.register_buffer("size", size, persistent=False)
        self.has_prior = config.velocity_prior
        self.embed = nn.Sequential(
            nn.Linear(POSES * 3, config.ffn_dim), nn.GELU(), nn.Linear(config.ffn_dim, config.dim)
        )
        self.register_load_state_dict_pre_hook(_refuse_other_anchors)  # type: ignore[no-untyped-call]

    def embedded(self, poses: Tensor) -> Tensor:
        """Return (..., D) of poses (..., 8, 3)."""
        numbers = (poses / poses.new_tensor(EMBEDDING_SCALE)).flatten(-2)
        features: Tensor = self.embed(numbers.to(first_parameter(self.embed).dtype))
        return features

    def log_prior(self, status: Tensor) -> Tensor:
        """Return (B, V), up to a constant per row, how likely anchors are before looking.

        The mean velocity up to each pose is normal around the present one with 2 m/s, and the
        poses count as one observation: -1/2 mean_k |position_k - v t_k|^2 / (2 m/s t_k)^2.
        """
        velocity = velocity_of(status)
        if not self.has_prior:
            return velocity.new_zeros(len(velocity), len(self.anchors))
        return (velocity[:, None] * self.steady).sum(dim=-1) - 0.5 * self.size

    def describe(self) -> dict[str, Any]:
        """Return size and digest of the vocabulary besides the parameters."""
        return {
            **super().describe(),
            "vocabulary_size": len(self.anchors),
            "vocabulary_sha256": self.vocabulary_sha256,
            "vocabulary_numbers": self.anchors.numel(),
            "velocity_prior": self.has_prior,
        }


@torch.no_grad()
def squared_distances(anchors: Tensor, trajectory: Tensor, heading_m_per_rad: float) -> Tensor:
    """Return (B, V) squared distances, summed over the poses [m^2].

    Args:
        anchors: (V, 8, 3).
        trajectory: (B, 8, 3).
        heading_m_per_rad: Metres that a radian counts.
    """
    target = trajectory.float()[:, None]
    # One coordinate at a time: (B, V, 8) is the largest thing held.
    total = (anchors[..., 0] - target[..., 0]).square().sum(dim=-1)
    total += (anchors[..., 1] - target[..., 1]).square().sum(dim=-1)
    turned = wrapped(anchors[..., 2] - target[..., 2]) * heading_m_per_rad
    return total + turned.square().sum(dim=-1)


def _prior_terms(anchors: Tensor) -> tuple[Tensor, Tensor]:
    """Return (V, 2) that multiplies the velocity, and (V,) that does not, in `log_prior`."""
    seconds = pose_seconds()
    precision = 1.0 / (POSES * (PRIOR_STD_MPS * seconds) ** 2)
    position = anchors[..., :2]
    steady = ((precision * seconds)[:, None] * position).sum(dim=1)
    return steady, (precision[:, None] * position.square()).sum(dim=(1, 2))


def _refuse_other_anchors(
    module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any
) -> None:
    """Refuse a state with the anchors of another vocabulary, before it is loaded."""
    theirs, ours = state_dict.get(f"{prefix}anchors"), module.anchors
    if theirs is None or not isinstance(ours, Tensor):
        return
    if theirs.shape != ours.shape or not torch.equal(theirs.to(ours), ours):
        raise RuntimeError(
            f"the checkpoint belongs to another vocabulary of {len(theirs)} anchors, this head"
            f" has one of {len(ours)}"
        )
