"""Planning heads."""

from __future__ import annotations

from dataclasses import dataclass, field

from experiments.settings.constants import POSES
from experiments.settings.head_weights import AdditiveWeights, HydraLossWeights, LogSumWeights
from experiments.settings.presets import HeadFacts, check_preset
from launcher.errors import ConfigError, at_least, one_of

HEADS = ("mlp", "transformer", "gru", "hydra_mdp", "diffusion", "transfuser")
ANCHORED = ("hydra_mdp", "diffusion")
"""Heads that choose among the trajectories of a vocabulary."""
METRICS = ("nc", "dac", "ttc", "ep", "comfort", "lk")
"""What a teacher may score: no at-fault collision, drivable area, time to collision, ego
progress, comfort, lane keeping."""


@dataclass(kw_only=True)
class DiffusionConfig:
    """What only `head=diffusion` reads: a truncated diffusion that begins at anchors."""

    steps: int = 2
    """Denoising steps of a plan."""
    truncated_at: int = 50
    """Steps, of a schedule of 1000, over which anchors are noised; 1000 would be pure noise."""
    classification_weight: float = 1.0
    """Of the cross-entropy of the nearest anchor, beside the trajectory loss in metres."""

    def __post_init__(self) -> None:
        at_least("head.diffusion.steps", self.steps, 1)
        at_least("head.diffusion.truncated_at", self.truncated_at, self.steps)
        at_least("head.diffusion.classification_weight", self.classification_weight, 0)
        if self.truncated_at > 1000:
            raise ConfigError(f"`head.diffusion.truncated_at={self.truncated_at}` is above 1000")


@dataclass(kw_only=True)
class HeadConfig:
    """Turns tokens and the ego status into a trajectory."""

    name: str = "mlp"
    preset: str | None = None
    """Published name that these values claim, e.g. `hydra_mdp_v8192_w_ep`; checked against them."""
    pool_hw: tuple[int, int] = (2, 8)
    """`mlp`, `gru`: token grid after pooling, before flattening; at most the backbone's own."""
    hidden_dim: int = 256
    """`mlp`, `gru`: width."""
    dropout: float = 0.0
    dim: int = 256
    """Width of heads with attention; a multiple of `num_heads`, and of 4 for positions."""
    num_heads: int = 8
    ffn_dim: int = 1024
    num_layers: int = 3
    num_queries: int = 8
    """`transformer`: learned queries; each answers with 8 / num_queries consecutive poses."""
    vocabulary_size: int = 8192
    """`hydra_mdp`, `diffusion`: anchors."""
    vocabulary_of: str = "labelled"
    """Whose trajectories are clustered: `labelled` (the label fraction) or `all` training logs."""
    vocabulary_seed: int = 0
    """Draws the first centres; apart from the training seed, so that seeds share a vocabulary."""
    velocity_prior: bool = True
    """`hydra_mdp`, `diffusion`: prefer anchors close to a drive at constant velocity before
    anything is learnt; the published heads do not."""
    teacher: str = "none"
    """`hydra_mdp`: `none` (imitation only) or `scores` of the anchors, in `batch["teacher"]`."""
    teacher_metrics: tuple[str, ...] = ("nc", "dac", "ttc", "ep", "comfort")
    """What the columns of the teacher's scores are, in order."""
    ep: bool = False
    """Learn ego progress from the teacher, and choose by it; its column may stay unused."""
    ep_loss: str = "bce"
    """`bce` or `mse`: how the continuous ego progress is learnt."""
    imitation_sigma_m2: float = 0.5
    """`hydra_mdp`: squared distances are divided by it before their softmax is the target [m^2]."""
    rule: str = "log_sum"
    """`hydra_mdp`: `log_sum` (paper) or `additive`: how scores become one, by these weights:"""
    log_sum: LogSumWeights = field(default_factory=LogSumWeights)
    additive: AdditiveWeights = field(default_factory=AdditiveWeights)
    hydra_loss: HydraLossWeights = field(default_factory=HydraLossWeights)
    anchor_attention: bool = True
    """`hydra_mdp`, `diffusion`: anchors attend to each other in each decoder layer, as published;
    without it the work per sample grows with the number of anchors and not with its square."""
    anchor_dropout: float = 0.0
    """`hydra_mdp`: share of the anchors left out of a training step, in [0, 1); GTRS takes 0.5."""
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)

    def __post_init__(self) -> None:
        self._check_words()
        self._check_sizes()
        self._check_teacher()
        if self.preset is not None:
            check_preset(self.preset, self._facts())

    @property
    def metrics(self) -> tuple[str, ...]:
        """What is learnt from a teacher, in the order of METRICS."""
        if self.teacher == "none":
            return ()
        return tuple(m for m in METRICS if m in self.teacher_metrics and (m != "ep" or self.ep))

    def _check_words(self) -> None:
        one_of("head.name", self.name, HEADS)
        one_of("head.vocabulary_of", self.vocabulary_of, ("labelled", "all"))
        one_of("head.teacher", self.teacher, ("none", "scores"))
        one_of("head.ep_loss", self.ep_loss, ("bce", "mse"))
        one_of("head.rule", self.rule, ("log_sum", "additive"))
        for metric in self.teacher_metrics:
            one_of("head.teacher_metrics", metric, METRICS)

    def _check_sizes(self) -> None:
        for key in ("hidden_dim", "dim", "num_heads", "ffn_dim", "num_layers"):
            at_least(f"head.{key}", getattr(self, key), 1)
        at_least("head.vocabulary_size", self.vocabulary_size, 2)
        at_least("head.vocabulary_seed", self.vocabulary_seed, 0)
        for key in ("dropout", "anchor_dropout"):
            if not 0.0 <= getattr(self, key) < 1.0:
                raise ConfigError(f"`head.{key}={getattr(self, key)}` is outside [0, 1)")
        if not self.imitation_sigma_m2 > 0.0:
            raise ConfigError(f"`head.imitation_sigma_m2={self.imitation_sigma_m2}` is not above 0")
        if self.dim % self.num_heads or self.dim % 4:
            raise ConfigError(
                f"`head.dim={self.dim}` does not fit `head.num_heads={self.num_heads}`",
                hint="the width must be a multiple of the heads, and of 4 for 2-D positions",
            )
        if self.num_queries < 1 or POSES % self.num_queries:
            raise ConfigError(
                f"`head.num_queries={self.num_queries}` does not divide the {POSES} poses",
                hint="take 1, 2, 4 or 8",
            )

    def _check_teacher(self) -> None:
        names = list(self.teacher_metrics)
        if len(set(names)) != len(names):
            raise ConfigError(f"`head.teacher_metrics={names}` names a column twice")
        if self.teacher == "none":
            return
        # Both rules choose by these; without one they would silently be other rules.
        for metric in ("nc", "dac", "ttc", "ep") if self.ep else ("nc", "dac", "ttc"):
            if metric not in names:
                raise ConfigError(
                    f"`head.teacher_metrics={names}` lacks `{metric}`, by which hydra_mdp chooses",
                    hint="name the columns of the teacher's scores in their order; head.ep=false"
                    " goes without ego progress",
                )

    def _facts(self) -> HeadFacts:
        weights = self.log_sum if self.rule == "log_sum" else self.additive
        return HeadFacts(
            name=self.name,
            vocabulary_size=self.vocabulary_size if self.name in ANCHORED else None,
            ep=self.ep,
            is_weighted=weights.is_weighted,
            is_additive=self.rule == "additive",
            has_teacher=self.teacher == "scores",
        )
