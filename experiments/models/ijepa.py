"""The I-JEPA encoder (Assran et al., 2023): a plain vision transformer over image patches.

There is no class token: every output token is a patch, row by row, and none is special.
Positions are fixed sines and cosines, so the encoder can be built for any patch grid.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from experiments.models.backbone import (
    Backbone,
    BackboneSpec,
    first_parameter,
    pair,
    require_shape,
    unit_range,
)
from experiments.models.ijepa_weights import load_encoder
from experiments.models.positions import sincos_positions
from experiments.settings import BackboneConfig, check_vit_sizes

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class PatchEncoder(nn.Module):
    """Vision transformer from uint8 pixels to patch tokens, or to a subset of them.

    State names are those of the official I-JEPA encoder. The position table is a buffer: it is
    counted and saved with the published model, but never learns.
    """

    pos_embed: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, config: BackboneConfig, image_hw: tuple[int, int]) -> None:
        super().__init__()
        check_vit_sizes(config, image_hw)
        self.image_hw = pair(image_hw)
        self.grid_hw = (image_hw[0] // config.patch_px, image_hw[1] // config.patch_px)
        vit = VisionTransformer(
            img_size=self.image_hw,
            patch_size=config.patch_px,
            embed_dim=config.embed_dim,
            depth=config.depth,
            num_heads=config.num_heads,
            mlp_ratio=config.mlp_ratio,
            num_classes=0,
            global_pool="",
            class_token=False,
            pos_embed="none",
            fix_init=True,
        )
        self.patch_embed, self.blocks, self.norm = vit.patch_embed, vit.blocks, vit.norm
        nn.init.trunc_normal_(self.patch_embed.proj.weight, std=0.02)
        nn.init.zeros_(self.patch_embed.proj.bias)
        self.register_buffer("pos_embed", sincos_positions(config.embed_dim, self.grid_hw))
        channels = (1, 3, 1, 1)
        for name, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            self.register_buffer(name, torch.tensor(values).view(channels), persistent=False)

    def forward(self, image: Tensor, visible: Tensor | None = None) -> Tensor:
        """Encode patches.

        Args:
            image: uint8 (B, 3, H, W), not normalised.
            visible: Indices (K,) of the patches to look at; all of them if absent.

        Returns:
            Tokens (B, K, C) in the order of `visible`, or (B, N, C) row by row.
        """
        require_shape("image", image, (3, *self.image_hw))
        pixels = unit_range(image, first_parameter(self)).sub_(self.mean).div_(self.std)
        tokens = self.patch_embed(pixels) + self.pos_embed
        if visible is not None:
            tokens = tokens.index_select(1, visible)
        for block in self.blocks:
            tokens = block(tokens)
        normed: Tensor = self.norm(tokens)
        return normed


class IJepaBackbone(Backbone):
    """All patch tokens of an I-JEPA encoder, random or loaded from a pretraining checkpoint."""

    def __init__(
        self, config: BackboneConfig, *, image_hw: tuple[int, int], weights: Path | None = None
    ) -> None:
        super().__init__()
        self.encoder = PatchEncoder(config, image_hw)
        digest = None
        if weights is not None:
            digest = load_encoder(
                self.encoder, weights, which=config.which, grid_hw=self.encoder.grid_hw
            )
        self.spec = BackboneSpec(
            name=config.name,
            token_dim=config.embed_dim,
            grid_hw=self.encoder.grid_hw,
            sensors=frozenset({"image"}),
            input_hw=self.encoder.image_hw,
            which_encoder=config.which if weights is not None else None,
            weights_sha256=digest,
        )

    def encode(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return (B, N, C) tokens; row 0 of the grid is the top of the image."""
        tokens: Tensor = self.encoder(batch["image"])
        return tokens

    def blocks(self) -> list[nn.Module]:
        """Return the transformer blocks from input to output."""
        return list(self.encoder.blocks)
