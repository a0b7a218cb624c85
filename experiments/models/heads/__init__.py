"""Planning heads: tokens and ego status in, a trajectory out."""

from __future__ import annotations

from experiments.models.backbone import BackboneSpec
from experiments.models.heads.base import FlatHead, PlanningHead, PlanOutput
from experiments.models.heads.diffusion import DiffusionHead
from experiments.models.heads.gru import GruHead
from experiments.models.heads.hydra_mdp import HydraMdpHead
from experiments.models.heads.mlp import MlpHead
from experiments.models.heads.transformer import TransformerHead
from experiments.models.heads.transfuser import TransFuserHead
from experiments.settings import HeadConfig
from experiments.settings.head import ANCHORED
from experiments.vocabulary import Vocabulary
from launcher.errors import ConfigError

__all__ = [
    "DiffusionHead",
    "FlatHead",
    "GruHead",
    "HydraMdpHead",
    "MlpHead",
    "PlanOutput",
    "PlanningHead",
    "TransFuserHead",
    "TransformerHead",
    "build_head",
]

_FREE: dict[str, type[MlpHead] | type[TransformerHead] | type[GruHead]] = {
    "mlp": MlpHead,
    "transformer": TransformerHead,
    "gru": GruHead,
}
_WITH_ANCHORS: dict[str, type[HydraMdpHead] | type[DiffusionHead]] = {
    "hydra_mdp": HydraMdpHead,
    "diffusion": DiffusionHead,
}


def build_head(
    config: HeadConfig, spec: BackboneSpec, vocabulary: Vocabulary | None = None
) -> PlanningHead:
    """Build the head that `config.name` names for a backbone's tokens.

    Args:
        config: Name and sizes.
        spec: The backbone.
        vocabulary: Trajectories to choose among; needed if and only if the head has anchors.

    Raises:
        ConfigError: the vocabulary is missing, or has another size than `head.vocabulary_size`.
    """
    if config.name in ANCHORED:
        anchors = _checked(config, vocabulary)
        return _WITH_ANCHORS[config.name](config, spec.token_dim, spec.grid_hw, anchors)
    if config.name == "transfuser":
        return TransFuserHead(config, spec)
    return _FREE[config.name](config, spec.token_dim, spec.grid_hw)


def _checked(config: HeadConfig, vocabulary: Vocabulary | None) -> Vocabulary:
    if vocabulary is None:
        raise ConfigError(
            f"`head.name={config.name}` needs a vocabulary of trajectories",
            hint="let the run require one: requires.vocabulary=[task=vocabulary]",
        )
    if len(vocabulary) != config.vocabulary_size:
        raise ConfigError(
            f"`head.vocabulary_size={config.vocabulary_size}`, but the vocabulary has"
            f" {len(vocabulary)} anchors",
            hint=f"set head.vocabulary_size={len(vocabulary)}, or build another vocabulary with"
            " task=vocabulary",
        )
    return vocabulary
