"""Self-supervised pretraining of the I-JEPA encoder."""

from __future__ import annotations

from dataclasses import dataclass

from launcher.errors import ConfigError, at_least


@dataclass(kw_only=True)
class PretrainConfig:
    """The I-JEPA objective (Assran et al., 2023): predict target blocks from a context block.

    Schedules and masks default to the released recipe of ViT-H/14.
    """

    steps: int = 300
    batch_size: int = 64
    """Effective batch: images per optimizer step over all ranks and accumulation."""
    lr_start: float = 2e-4
    """Learning rate that the warm-up starts from."""
    lr: float = 1e-3
    """Learning rate after the warm-up; then it follows a cosine to `lr_final`."""
    lr_final: float = 1e-6
    warmup_share: float = 0.1333
    """Share of the steps over which the learning rate rises: 40 of 300 epochs."""
    weight_decay: float = 0.04
    """Of matrices, at the first step; rises along a cosine to `weight_decay_final`."""
    weight_decay_final: float = 0.4
    ema_start: float = 0.996
    """EMA momentum of the target encoder at the first step; rises linearly to 1."""
    num_targets: int = 4
    target_scale: tuple[float, float] = (0.15, 0.2)
    """Area of a target block as a share of the patch grid."""
    target_aspect: tuple[float, float] = (0.75, 1.5)
    context_scale: tuple[float, float] = (0.85, 1.0)
    predictor_depth: int = 2
    predictor_dim: int = 64
    precision: str = "32-true"
    """As `trainer.precision`, which conf/backbone/ijepa.yaml hands down; another makes another
    encoder."""
    seed: int = 0
    keep_optimizer: bool = False
    """Also write the moments of AdamW into the checkpoint, as official files do; only training on
    in the official code reads them, and they double the file."""

    def __post_init__(self) -> None:
        for key in ("steps", "batch_size", "num_targets", "predictor_depth", "predictor_dim"):
            at_least(f"backbone.pretrain.{key}", getattr(self, key), 1)
        for key in ("ema_start", "warmup_share"):
            if not 0.0 <= getattr(self, key) < 1.0:
                raise ConfigError(
                    f"`backbone.pretrain.{key}={getattr(self, key)}` is outside [0, 1)",
                    hint="the released recipe of ViT-H/14 has 0.996 and 40 / 300",
                )


def check_averaging(precision: str) -> None:
    """Raise ConfigError where weights are too coarse for the average that pretraining keeps."""
    if precision == "bf16-true":
        raise ConfigError(
            "`backbone.pretrain.precision=bf16-true` stops the target encoder of the pretraining:"
            " an average in bfloat16 does not move by 0.4 % of a difference",
            hint="use backbone.pretrain.precision=bf16-mixed, which keeps the weights in float32",
        )
