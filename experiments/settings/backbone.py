"""Encoders of sensor data."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.settings.pretraining import PretrainConfig
from experiments.settings.training import OptimizerConfig
from launcher.errors import ConfigError, at_least, one_of

if TYPE_CHECKING:
    from experiments.data.source import Sensor

SENSORS_OF: dict[str, tuple[Sensor, ...]] = {
    "transfuser": ("image", "lidar"),
    "ltf": ("image",),
    "vovnet": ("image",),
    "ijepa": ("image",),
    "dinov2": ("image",),
    "vit_supervised": ("image",),
    "blind": (),
}
"""All backbones with what they read; their modules, which also say it, import torch."""
VITS = ("ijepa", "dinov2", "vit_supervised")
"""Backbones that cut images into patches."""
WITH_BEV = ("transfuser", "ltf")
"""Backbones with a bird's-eye view that semantics can be read from."""


@dataclass(kw_only=True)
class BackboneConfig:
    """An encoder of sensor data into tokens. Sizes come from the scale group."""

    name: str = "transfuser"
    """One of the keys of `SENSORS_OF`. `ltf` is TransFuser with a learned map for the LiDAR;
    `blind` sees nothing, so the head on it drives by the ego status alone."""
    finetune: str = "full"
    """Policy when `finetune=preset`."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """Recipe of this backbone, taken when `optimizer=preset`."""
    auxiliary: str = "none"
    """`navsim` (also learn the semantic map of the surroundings, from the labels
    `bev_semantics`) or `none`. For `transfuser` and `ltf`."""
    # ResNets and VoVNets: numbers of their four stages.
    stage_blocks: tuple[int, ...] = (3, 4, 6, 3)
    stage_channels: tuple[int, ...] = (64, 128, 256, 512)
    """Channels that each stage gives to the next."""
    # TransFuser: two ResNets joined by transformers after each of their four stages.
    fusion_layers: int = 2
    fusion_heads: int = 4
    image_anchors_hw: tuple[int, int] = (8, 32)
    """Grid to which image features are pooled before fusion."""
    bev_anchors_hw: tuple[int, int] = (8, 8)
    """Grid to which LiDAR features are pooled before fusion; also the output tokens."""
    bev_channels: int = 64
    """Channels of the bird's-eye-view features that semantics are read from."""
    # VoVNet.
    stem_channels: tuple[int, ...] = (64, 64, 128)
    osa_channels: tuple[int, ...] = (128, 160, 192, 224)
    """Channels of the 3 x 3 convolutions inside the blocks of each stage."""
    osa_layers: int = 5
    """3 x 3 convolutions of a block; its output sees all of them at once."""
    ese: str = "every"
    """Blocks with a channel attention: `every` (V2-99 as planners use it) or `last` (one per
    stage: timm's `ese_vovnet99b`, whose released weights have no others)."""
    tokens_hw: tuple[int, int] = (16, 64)
    """Grid to which the last stage of the VoVNet is pooled."""
    # Vision transformers.
    patch_px: int = 14
    embed_dim: int = 1280
    depth: int = 32
    num_heads: int = 16
    mlp_ratio: float = 4.0
    registers: int = 0
    """Extra tokens of `dinov2` besides its class token; neither is ever given to a head."""
    layer_scale: float | None = None
    """First factor on each residual branch of `dinov2`; `null` builds none."""
    pixel_statistics: str = "imagenet"
    """Mean and deviation that pixels are standardised with: `imagenet`, or `half` (0.5 and 0.5 in
    each channel, as most supervised ViTs of timm were trained)."""
    # Weights.
    weights: str = "none"
    """`none` (random, then trained), `pretrain` (output of the run required as `encoder`), or the
    path of a file."""
    weights_format: str = "official"
    """Layout of that file: `official` (I-JEPA's .pth.tar), `timm` (state dict of the timm model)
    or `huggingface` (state dict of IJepaModel)."""
    which: str = "target_encoder"
    """Encoder taken from an I-JEPA checkpoint: `target_encoder` (the paper) or `encoder`."""
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)

    def __post_init__(self) -> None:
        one_of("backbone.name", self.name, tuple(SENSORS_OF))
        one_of("backbone.auxiliary", self.auxiliary, ("navsim", "none"))
        one_of("backbone.ese", self.ese, ("every", "last"))
        one_of("backbone.pixel_statistics", self.pixel_statistics, ("imagenet", "half"))
        one_of("backbone.weights_format", self.weights_format, ("official", "timm", "huggingface"))
        one_of("backbone.which", self.which, ("target_encoder", "encoder"))
        at_least("backbone.registers", self.registers, 0)
        if self.auxiliary == "navsim" and self.name not in WITH_BEV:
            raise ConfigError(
                f"`backbone.auxiliary=navsim` does not fit `backbone.name={self.name}`",
                hint=f"a semantic map can be learnt by: {', '.join(WITH_BEV)}",
            )
        if self.name == "ijepa" and self.pixel_statistics != "imagenet":
            raise ConfigError(
                f"`backbone.pixel_statistics={self.pixel_statistics}` does not fit I-JEPA, which"
                " was trained on pixels standardised with ImageNet's mean and deviation",
                hint="the 0.5/0.5 of a Hugging Face ViTImageProcessor comes from its defaults, not"
                " from the training: use backbone.pixel_statistics=imagenet",
            )
        _check_weights(self)

    @property
    def weights_file(self) -> Path | None:
        """The file that `weights` names, if it names one."""
        return None if self.weights in ("none", "pretrain") else Path(self.weights)


def _check_weights(config: BackboneConfig) -> None:
    name, layout = config.name, config.weights_format
    if config.weights == "pretrain" and (name != "ijepa" or layout != "official"):
        raise ConfigError(
            f"`backbone.weights=pretrain` does not fit `backbone.name={name}` with"
            f" `backbone.weights_format={layout}`",
            hint="the pretrain task makes I-JEPA encoders in the official layout; use"
            " backbone.weights=none or the path of a file",
        )
    if config.weights_file is None:
        return
    if name == "blind":
        raise ConfigError(
            f"`backbone.weights={config.weights}`: the blind backbone has no weights",
            hint="use backbone.weights=none",
        )
    if name != "ijepa" and layout != "timm":
        raise ConfigError(
            f"`backbone.weights_format={layout}` is a layout of I-JEPA, not of `{name}`",
            hint="use the state dict of the timm model and backbone.weights_format=timm",
        )
    if name == "ijepa" and layout != "official" and config.which == "target_encoder":
        raise ConfigError(
            f"`backbone.which=target_encoder` cannot come from `backbone.weights_format={layout}`:"
            " both libraries converted the context encoder",
            hint="use the official .pth.tar, or say backbone.which=encoder",
        )


def check_vit_sizes(config: BackboneConfig, image_hw: tuple[int, int]) -> None:
    """Raise ConfigError unless image, patch, width and heads fit together."""
    patch, dim, heads = config.patch_px, config.embed_dim, config.num_heads
    if any(size % patch or size < patch for size in image_hw):
        legal = [
            " or ".join(str(n * patch) for n in sorted({max(1, s // patch), -(-s // patch)}))
            for s in image_hw
        ]
        raise ConfigError(
            f"`data.image_hw={list(image_hw)}` is not a multiple of `backbone.patch_px={patch}`",
            hint=f"nearest legal sizes: height {legal[0]}, width {legal[1]}",
        )
    if dim % heads or dim % 4:
        raise ConfigError(
            f"`backbone.embed_dim={dim}` does not fit `backbone.num_heads={heads}`",
            hint="the width must be a multiple of the heads, and of 4 for 2-D positions",
        )
