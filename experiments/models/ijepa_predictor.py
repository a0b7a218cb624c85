"""The narrow transformer of I-JEPA that predicts target features from context features."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from experiments.models.ijepa_masks import BlockMasks
from experiments.models.positions import sincos_positions
from experiments.settings import BackboneConfig
from launcher.errors import ConfigError

MLP_RATIO = 4.0
"""Of every published predictor, whatever the encoder has."""
NORM_EPS = 1e-6


class Predictor(nn.Module):
    """Context tokens and mask tokens with positions in, predicted target tokens out.

    State names are those of the official I-JEPA predictor.
    """

    predictor_pos_embed: Tensor

    def __init__(self, config: BackboneConfig, grid_hw: tuple[int, int]) -> None:
        super().__init__()
        dim, depth = config.pretrain.predictor_dim, config.pretrain.predictor_depth
        _check(dim, config.num_heads)
        self.predictor_embed = nn.Linear(config.embed_dim, dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.register_buffer("predictor_pos_embed", sincos_positions(dim, grid_hw))
        norm: Any = partial(nn.LayerNorm, eps=NORM_EPS)
        blocks = [
            Block(dim, config.num_heads, mlp_ratio=MLP_RATIO, qkv_bias=True, norm_layer=norm)
            for _ in range(depth)
        ]
        self.predictor_blocks = nn.ModuleList(blocks)
        self.predictor_norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.predictor_proj = nn.Linear(dim, config.embed_dim)
        self._init_weights(blocks)

    def forward(self, context: Tensor, masks: BlockMasks) -> Tensor:
        """Predict every target block on its own from the whole context.

        Args:
            context: Tokens (B, K, C) of the visible patches.
            masks: Their places (B, K) and the places (B, T, M) to predict.

        Returns:
            Predicted tokens (B, T, M, C).
        """
        batch, num_context = context.shape[:2]
        _, num_targets, num_masked = masks.targets.shape
        positions = self.predictor_pos_embed[0]
        seen = self.predictor_embed(context) + positions[masks.context]
        queries = self.mask_token + positions[masks.targets]
        tokens = torch.cat(
            [
                seen.unsqueeze(1).expand(-1, num_targets, -1, -1),
                queries,
            ],
            dim=2,
        ).flatten(0, 1)
        for block in self.predictor_blocks:
            tokens = block(tokens)
        predicted: Tensor = self.predictor_proj(self.predictor_norm(tokens[:, num_context:]))
        return predicted.view(batch, num_targets, num_masked, -1)

    def _init_weights(self, blocks: list[Block]) -> None:
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        for number, block in enumerate(blocks, start=1):
            for name in ("attn.proj.weight", "mlp.fc2.weight"):
                block.get_parameter(name).data.div_((2.0 * number) ** 0.5)


def _check(dim: int, num_heads: int) -> None:
    if dim % num_heads or dim % 4:
        raise ConfigError(
            f"`backbone.pretrain.predictor_dim={dim}` does not fit"
            f" `backbone.num_heads={num_heads}`",
            hint="the width must be a multiple of the encoder's heads, and of 4 for positions",
        )
