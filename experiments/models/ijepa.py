"""The I-JEPA encoder (Assran et al., 2023): a plain vision transformer over image patches.

There is no class token: every output token is a patch, row by row, and none is special.
Positions are fixed sines and cosines, so the encoder can be built for any patch grid.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from experiments.models import fused
from experiments.models.backbone import (
    Backbone,
    BackboneSpec,
    Encoded,
    first_parameter,
    pair,
    require_shape,
)
from experiments.models.ijepa_weights import load_encoder
from experiments.models.positions import sincos_positions
from experiments.models.vit_pixels import Standardise
from experiments.settings import BackboneConfig, check_vit_sizes


class PatchEncoder(nn.Module):
    """Vision transformer from uint8 pixels to patch tokens, or to a subset of them.

    State names are those of the official I-JEPA encoder. The position table is a buffer: it is
    counted and saved with the published model, but never learns.
    """

    pos_embed: Tensor

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
        self.standardise = Standardise(config.pixel_statistics)

    def forward(self, image: Tensor, visible: Tensor | None = None) -> Tensor:
        """Encode patches.

        Args:
            image: uint8 (B, 3, H, W), not normalised.
            visible: Indices (B, K) of the patches to look at; all of them if absent.

        Returns:
            Tokens (B, K, C) in the order of `visible`, or (B, N, C) row by row.
        """
        require_shape("image", image, (3, *self.image_hw))
        pixels = self.standardise(image, first_parameter(self))
        # The convolution leaves channels before patches; every layer would work across strides,
        # which costs a third of the encoder's time on an H200.
        tokens = (self.patch_embed(pixels) + self.pos_embed).contiguous()
        if visible is not None:
            tokens = pick(tokens, visible)
        norm: Any = self.norm
        if fused.can_fuse(tokens, norm):
            return fused.encode(list(self.blocks), norm, tokens)
        for block in self.blocks:
            tokens = block(tokens)
        normed: Tensor = norm(tokens)
        return normed


def pick(tokens: Tensor, patches: Tensor) -> Tensor:
    """Return the tokens (B, ..., C) of (B, N, C) at the patches (B, ...) of each image."""
    image = torch.arange(len(tokens), device=tokens.device)
    # Not gather: this has a deterministic gradient on GPUs.
    return tokens[image.view(-1, *[1] * (patches.ndim - 1)), patches]


class IJepaBackbone(Backbone):
    """All patch tokens of an I-JEPA encoder, random or loaded from a file."""

    def __init__(
        self, config: BackboneConfig, *, image_hw: tuple[int, int], weights: Path | None = None
    ) -> None:
        super().__init__()
        self.encoder = PatchEncoder(config, image_hw)
        digest = None
        if weights is not None:
            digest = load_encoder(
                self.encoder,
                weights,
                which=config.which,
                layout=config.weights_format,
                grid_hw=self.encoder.grid_hw,
            )
        self.layout = config.weights_format if weights is not None else None
        self.spec = BackboneSpec(
            name=config.name,
            token_dim=config.embed_dim,
            grid_hw=self.encoder.grid_hw,
            sensors=frozenset({"image"}),
            input_hw=self.encoder.image_hw,
            which_encoder=config.which if weights is not None else None,
            weights_sha256=digest,
        )

    def encode(self, batch: Mapping[str, Tensor]) -> Encoded:
        """Return (B, N, C) tokens; row 0 of the grid is the top of the image."""
        return Encoded(self.encoder(batch["image"]))

    def blocks(self) -> list[nn.Module]:
        """Return the transformer blocks from input to output."""
        return list(self.encoder.blocks)

    def describe(self) -> dict[str, Any]:
        """Say where the weights come from."""
        return {
            "weights": "random" if self.layout is None else self.layout,
            "which": self.spec.which_encoder,
        }
