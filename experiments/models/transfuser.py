"""TransFuser, the camera and LiDAR backbone (Chitta et al., 2023) as NAVSIM configures it.

Two ResNets run side by side. After each of their four stages both feature maps are pooled to
anchors, a transformer lets all anchors attend to each other, and the result is added back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from timm.models.resnet import BasicBlock, downsample_conv
from torch import Tensor, nn
from torch.nn import functional

from experiments.models.backbone import (
    Backbone,
    BackboneSpec,
    first_parameter,
    pair,
    require_shape,
    unit_range,
)
from experiments.models.resampling import Resample
from experiments.settings import BackboneConfig
from launcher.errors import ConfigError

NUM_STAGES = 4
DROPOUT = 0.1
"""Of the embedding, the attention and the residual branches, as published."""
MLP_RATIO = 4


class ResNetBranch(nn.Module):
    """A ResNet of basic blocks without its classifier; state names are those of timm.

    With blocks (3, 4, 6, 3) and channels (64, 128, 256, 512) it is a ResNet-34. The stem is as
    wide as the first stage, so narrow networks stay cheap.
    """

    def __init__(
        self, in_channels: int, blocks: tuple[int, ...], channels: tuple[int, ...]
    ) -> None:
        super().__init__()
        stem = channels[0]
        self.conv1 = nn.Conv2d(in_channels, stem, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.layer1 = _stage(stem, channels[0], blocks[0], stride=1)
        self.layer2 = _stage(channels[0], channels[1], blocks[1], stride=2)
        self.layer3 = _stage(channels[1], channels[2], blocks[2], stride=2)
        self.layer4 = _stage(channels[2], channels[3], blocks[3], stride=2)
        self._init_weights()

    def stem(self, x: Tensor) -> Tensor:
        """Reduce (B, in, H, W) to (B, channels[0], H/4, W/4)."""
        return functional.max_pool2d(
            functional.relu(self.bn1(self.conv1(x))), 3, stride=2, padding=1
        )

    def stages(self) -> list[nn.Module]:
        """Return the four stages; each but the first halves height and width."""
        return [self.layer1, self.layer2, self.layer3, self.layer4]

    def _init_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, BasicBlock):
                module.zero_init_last()


def _stage(width_in: int, width: int, num_blocks: int, *, stride: int) -> nn.Sequential:
    shortcut = None
    if stride != 1 or width_in != width:
        shortcut = downsample_conv(width_in, width, kernel_size=1, stride=stride)
    first = BasicBlock(width_in, width, stride=stride, downsample=shortcut)
    return nn.Sequential(first, *(BasicBlock(width, width) for _ in range(num_blocks - 1)))


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


class TransFuser(Backbone):
    """Camera and LiDAR to bird's-eye-view tokens.

    The tokens are the fused LiDAR map pooled to `bev_anchors_hw`, each plus the mean of the
    fused image map. Their mean is thus the sum of both global features, the fused vector of
    the original paper. Pixels are scaled to [0, 1] and not standardised, as published.
    """

    def __init__(self, config: BackboneConfig, *, image_hw: tuple[int, int], bev_px: int) -> None:
        super().__init__()
        _check(config)
        self.spec = BackboneSpec(
            name=config.name,
            token_dim=config.stage_channels[-1],
            grid_hw=pair(config.bev_anchors_hw),
            sensors=frozenset({"image", "lidar"}),
            input_hw=pair(image_hw),
        )
        self.bev_px = bev_px
        self.image = ResNetBranch(3, config.stage_blocks, config.stage_channels)
        self.lidar = ResNetBranch(1, config.stage_blocks, config.stage_channels)
        bev_hw = (bev_px, bev_px)
        self.fusions = nn.ModuleList(
            StageFusion(config, dim, _stage_hw(image_hw, i), _stage_hw(bev_hw, i))
            for i, dim in enumerate(config.stage_channels)
        )
        self.pool_tokens = Resample.pool(_stage_hw(bev_hw, NUM_STAGES - 1), self.spec.grid_hw)

    def encode(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return (B, N, C) tokens; row 0 of the grid is row 0 of the LiDAR histogram."""
        require_shape("image", batch["image"], (3, *self.spec.input_hw))
        require_shape("lidar", batch["lidar"], (1, self.bev_px, self.bev_px))
        like = first_parameter(self)
        image = self.image.stem(unit_range(batch["image"], like))
        bev = self.lidar.stem(batch["lidar"].to(like.dtype))
        stages = zip(self.image.stages(), self.lidar.stages(), self.fusions, strict=True)
        for image_stage, lidar_stage, fuse in stages:
            image, bev = fuse(image_stage(image), lidar_stage(bev))
        tokens: Tensor = self.pool_tokens(bev).flatten(2).transpose(1, 2)
        return tokens + image.mean(dim=(2, 3)).unsqueeze(1)

    def blocks(self) -> list[nn.Module]:
        """Return the four stages, each with both branches and their fusion."""
        stages = zip(self.image.stages(), self.lidar.stages(), self.fusions, strict=True)
        return [nn.ModuleList(stage) for stage in stages]


def _stage_hw(hw: tuple[int, int], stage: int) -> tuple[int, int]:
    """Size of a map after a stage: the stem divides by 4, each later stage by 2, rounding up."""
    stride = 4 * 2**stage
    return -(-hw[0] // stride), -(-hw[1] // stride)


def _check(config: BackboneConfig) -> None:
    for key, value in (
        ("stage_blocks", config.stage_blocks),
        ("stage_channels", config.stage_channels),
    ):
        if len(value) != NUM_STAGES or min(value) < 1:
            raise ConfigError(
                f"`backbone.{key}={list(value)}` must be {NUM_STAGES} positive numbers",
                hint="one per ResNet stage, e.g. [3,4,6,3] blocks and [64,128,256,512] channels",
            )
    odd = [dim for dim in config.stage_channels if dim % config.fusion_heads]
    if odd:
        raise ConfigError(
            f"`backbone.stage_channels` {odd} cannot be split over"
            f" `backbone.fusion_heads={config.fusion_heads}`",
            hint="every stage width must be a multiple of the number of heads",
        )
