"""Vision transformers with a class token, as controls for the I-JEPA encoder of their size.

`dinov2` may have registers and scaled residual branches; `vit_supervised` is plain. Only patch
tokens are given on: class token and registers help the encoder and have no place in the image.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from timm.layers.pos_embed import resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from experiments.models.backbone import (
    Backbone,
    BackboneSpec,
    Encoded,
    first_parameter,
    pair,
    require_shape,
)
from experiments.models.backbone_weights import load_strictly, sha256, timm_state
from experiments.models.vit_pixels import Standardise
from experiments.settings import BackboneConfig, check_vit_sizes
from launcher.errors import ConfigError

POSITIONS = "pos_embed"


class ViTBackbone(Backbone):
    """Patch tokens of a timm VisionTransformer with learned positions."""

    def __init__(
        self, config: BackboneConfig, *, image_hw: tuple[int, int], weights: Path | None = None
    ) -> None:
        """Build the encoder.

        Args:
            config: Sizes; `registers` and `layer_scale` count for `dinov2`.
            image_hw: Height and width of the image [px], multiples of the patch.
            weights: State dict of the timm model of this size; random if absent.
        """
        super().__init__()
        check_vit_sizes(config, image_hw)
        is_dino = config.name == "dinov2"
        registers = config.registers if is_dino else 0
        grid_hw = (image_hw[0] // config.patch_px, image_hw[1] // config.patch_px)
        self.standardise = Standardise(config.pixel_statistics)
        self.vit = VisionTransformer(
            img_size=pair(image_hw),
            patch_size=config.patch_px,
            embed_dim=config.embed_dim,
            depth=config.depth,
            num_heads=config.num_heads,
            mlp_ratio=config.mlp_ratio,
            init_values=config.layer_scale if is_dino else None,
            reg_tokens=registers,
            # timm's models with registers have positions of patches only.
            no_embed_class=registers > 0,
            num_classes=0,
            global_pool="",
        )
        self.num_prefix = 1 + registers
        """Tokens before those of the patches."""
        self.spec = BackboneSpec(
            name=config.name,
            token_dim=config.embed_dim,
            grid_hw=grid_hw,
            sensors=frozenset({"image"}),
            input_hw=pair(image_hw),
            weights_sha256=self._load(weights, grid_hw) if weights else None,
        )

    def encode(self, batch: Mapping[str, Tensor]) -> Encoded:
        """Return (B, N, C) patch tokens; row 0 of the grid is the top of the image."""
        require_shape("image", batch["image"], (3, *self.spec.input_hw))
        tokens = self.vit(self.standardise(batch["image"], first_parameter(self)))
        return Encoded(tokens[:, self.num_prefix :])

    def blocks(self) -> list[nn.Module]:
        """Return the transformer blocks from input to output."""
        return list(self.vit.blocks)

    def describe(self) -> dict[str, Any]:
        """Say where the weights come from and what comes before the patches."""
        return {
            "weights": "random" if self.spec.weights_sha256 is None else "timm",
            "prefix_tokens": self.num_prefix,
        }

    def _load(self, path: Path, grid_hw: tuple[int, int]) -> str:
        state = timm_state(path)
        if POSITIONS in state:
            state[POSITIONS] = self._positions(path, state[POSITIONS], grid_hw)
        load_strictly(self.vit, state, path)
        return sha256(path)

    def _positions(self, path: Path, table: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        """Stretch the learned positions of a square grid to the backbone's grid."""
        num_prefix = self.vit.state_dict()[POSITIONS].shape[1] - math.prod(grid_hw)
        num_patches = table.shape[1] - num_prefix
        side = math.isqrt(max(num_patches, 0))
        if table.ndim != 3 or side * side != num_patches:
            raise ConfigError(
                f"`{POSITIONS}` {tuple(table.shape)} in `{path}` is no square grid of patches"
                f" after {num_prefix} further tokens",
                hint="backbone.registers must be those of the file: 4 in timm's *_reg4_dinov2, 0"
                " elsewhere",
            )
        stretched: Tensor = resample_abs_pos_embed(
            table, list(grid_hw), [side, side], num_prefix_tokens=num_prefix
        )
        return stretched
