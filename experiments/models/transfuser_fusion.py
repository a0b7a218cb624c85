"""The transformers through which TransFuser's two branches see each other."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.models.backbone import pair
from experiments.models.resampling import Resample
from experiments.settings import BackboneConfig

DROPOUT = 0.1
"""Of the embedding, the attention and the residual branches, as published."""
MLP_RATIO = 4


class FusionLayer(nn.Module):
    """A pre-norm transformer layer with ReLU, as in the published fusion transformers."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm1 = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, MLP_RATIO * dim)
        self.fc2 = nn.Linear(MLP_RATIO * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, N, C) to (B, N, C)."""
        x = x + self._drop(self.proj(self._attend(self.norm1(x))))
        return x + self._drop(self.fc2(functional.relu(self.fc1(self.norm2(x)))))

    def _attend(self, x: Tensor) -> Tensor:
        batch, tokens, dim = x.shape
        heads = self.qkv(x).view(batch, tokens, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = heads.unbind(0)
        dropout = DROPOUT if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
        return mixed.transpose(1, 2).reshape(batch, tokens, dim)

    def _drop(self, x: Tensor) -> Tensor:
        return functional.dropout(x, DROPOUT, self.training)


class FusionTransformer(nn.Module):
    """Self-attention over the anchors of both sensors, with learned positions."""

    def __init__(self, dim: int, num_tokens: int, *, num_layers: int, num_heads: int) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.zeros(1, num_tokens, dim))
        self.layers = nn.ModuleList(FusionLayer(dim, num_heads) for _ in range(num_layers))
        self.norm = nn.LayerNorm(dim)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (B, N, C) to (B, N, C)."""
        x = functional.dropout(tokens + self.positions, DROPOUT, self.training)
        for layer in self.layers:
            x = layer(x)
        normed: Tensor = self.norm(x)
        return normed


class StageFusion(nn.Module):
    """Exchange information between the branches after one stage."""

    def __init__(
        self,
        config: BackboneConfig,
        dim: int,
        image_hw: tuple[int, int],
        bev_hw: tuple[int, int],
    ) -> None:
        super().__init__()
        self.image_anchors_hw = pair(config.image_anchors_hw)
        self.bev_anchors_hw = pair(config.bev_anchors_hw)
        self.num_image = math.prod(self.image_anchors_hw)
        self.pool_image = Resample.pool(image_hw, self.image_anchors_hw)
        self.pool_bev = Resample.pool(bev_hw, self.bev_anchors_hw)
        self.grow_image = Resample.bilinear(self.image_anchors_hw, image_hw)
        self.grow_bev = Resample.bilinear(self.bev_anchors_hw, bev_hw)
        self.bev_to_image = nn.Conv2d(dim, dim, kernel_size=1)
        self.image_to_bev = nn.Conv2d(dim, dim, kernel_size=1)
        self.transformer = FusionTransformer(
            dim,
            self.num_image + math.prod(self.bev_anchors_hw),
            num_layers=config.fusion_layers,
            num_heads=config.fusion_heads,
        )

    def forward(self, image: Tensor, bev: Tensor) -> tuple[Tensor, Tensor]:
        """Add to each map (B, C, H, W) what the transformer says about it."""
        anchors = torch.cat(
            [
                self.pool_image(image).flatten(2),
                self.bev_to_image(self.pool_bev(bev)).flatten(2),
            ],
            dim=2,
        )
        mixed = self.transformer(anchors.transpose(1, 2)).transpose(1, 2)
        from_image = mixed[:, :, : self.num_image].unflatten(2, self.image_anchors_hw)
        from_bev = mixed[:, :, self.num_image :].unflatten(2, self.bev_anchors_hw)
        return (
            image + self.grow_image(from_image),
            bev + self.grow_bev(self.image_to_bev(from_bev)),
        )
