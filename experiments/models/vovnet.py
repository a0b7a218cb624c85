"""VoVNet-99 with channel attention (Lee & Park, 2020), the image encoder of Hydra-MDP and GTRS."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from timm.layers.squeeze_excite import EffectiveSEModule
from timm.models.vovnet import OsaBlock, VovNet
from torch import Tensor, nn

from experiments.models.backbone import (
    Backbone,
    BackboneSpec,
    Encoded,
    first_parameter,
    pair,
    require_shape,
)
from experiments.models.backbone_weights import load_timm
from experiments.models.resampling import Resample
from experiments.models.vit_pixels import Standardise
from experiments.settings import BackboneConfig
from launcher.errors import ConfigError

NUM_STAGES = 4
STRIDE = 32


class VoVNetBackbone(Backbone):
    """The last stage of a VoVNet, pooled to `tokens_hw`. Images are standardised as ImageNet."""

    is_convolutional = True

    def __init__(
        self, config: BackboneConfig, *, image_hw: tuple[int, int], weights: Path | None = None
    ) -> None:
        """Build the encoder.

        Args:
            config: Sizes; those of V2-99 are in conf/scale/paper.yaml.
            image_hw: Height and width of the image [px]; 512 x 2048 in GTRS.
            weights: State dict of timm's `ese_vovnet99b`; random if absent. It has a channel
                attention in the last block of each stage only (`ese=last`).
        """
        super().__init__()
        _check(config, image_hw)
        self.standardise = Standardise(config.pixel_statistics)
        self.net = _network(config)
        self.pool_tokens = Resample.pool(_last_hw(image_hw), pair(config.tokens_hw))
        self.ese = config.ese
        self.spec = BackboneSpec(
            name=config.name,
            token_dim=config.stage_channels[-1],
            grid_hw=pair(config.tokens_hw),
            sensors=frozenset({"image"}),
            input_hw=pair(image_hw),
            weights_sha256=load_timm(self.net, weights) if weights else None,
        )

    def encode(self, batch: Mapping[str, Tensor]) -> Encoded:
        """Return (B, N, C) tokens; row 0 of the grid is the top of the image."""
        require_shape("image", batch["image"], (3, *self.spec.input_hw))
        pixels = self.standardise(batch["image"], first_parameter(self))
        maps = self.pool_tokens(self.net.stages(self.net.stem(pixels)))
        return Encoded(maps.flatten(2).transpose(1, 2))

    def blocks(self) -> list[nn.Module]:
        """Return the aggregation blocks of all stages from input to output."""
        return [module for module in self.net.modules() if isinstance(module, OsaBlock)]

    def describe(self) -> dict[str, Any]:
        """Say which blocks attend to channels and where the weights come from."""
        return {
            "ese": self.ese,
            "weights": "random" if self.spec.weights_sha256 is None else "timm",
        }


def _network(config: BackboneConfig) -> VovNet:
    sizes = {
        "stem_chs": list(config.stem_channels),
        "stage_conv_chs": list(config.osa_channels),
        "stage_out_chs": list(config.stage_channels),
        "layer_per_block": config.osa_layers,
        "block_per_stage": list(config.stage_blocks),
        "residual": True,
        "depthwise": False,
        "attn": "ese",
    }
    net = VovNet(sizes, num_classes=0)
    if config.ese == "every":
        channels = [
            width
            for width, count in zip(config.stage_channels, config.stage_blocks, strict=True)
            for _ in range(count)
        ]
        blocks = [module for module in net.modules() if isinstance(module, OsaBlock)]
        for block, width in zip(blocks, channels, strict=True):
            # timm gives it to the last block of a stage only.
            block.attn = block.attn or EffectiveSEModule(width)
    return net


def _last_hw(image_hw: tuple[int, int]) -> tuple[int, int]:
    """Size of the last map: the stem divides by 4, rounding up, three poolings by 2, down."""
    height, width = (math.ceil(size / 4) // 8 for size in image_hw)
    return height, width


def _check(config: BackboneConfig, image_hw: tuple[int, int]) -> None:
    if min(image_hw) < STRIDE:
        raise ConfigError(
            f"`data.image_hw={list(image_hw)}` is too small for a VoVNet",
            hint=f"take {STRIDE} px or more",
        )
    for key, length in (
        ("stage_blocks", NUM_STAGES),
        ("stage_channels", NUM_STAGES),
        ("osa_channels", NUM_STAGES),
        ("stem_channels", 3),
    ):
        value = getattr(config, key)
        if len(value) != length or min(value) < 1:
            raise ConfigError(
                f"`backbone.{key}={list(value)}` must be {length} positive numbers",
                hint="V2-99 has stem [64,64,128], blocks [1,3,9,3], channels [256,512,768,1024]"
                " with [128,160,192,224] inside",
            )
