"""TransFuser, the camera and LiDAR backbone (Chitta et al., 2023) as NAVSIM configures it.

Two ResNets run side by side. After each of their four stages both feature maps are pooled to
anchors, a transformer lets all anchors attend to each other, and the result is added back.
Latent TransFuser (LTF) puts a learned map where the LiDAR histogram was, and reads no LiDAR.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from experiments.models.auxiliary import SemanticLoss, SemanticMap, TopDown
from experiments.models.backbone import (
    Backbone,
    BackboneSpec,
    Encoded,
    first_parameter,
    pair,
    require_shape,
    unit_range,
)
from experiments.models.backbone_weights import load_timm
from experiments.models.resampling import Resample
from experiments.models.transfuser_branch import ResNetBranch
from experiments.models.transfuser_fusion import StageFusion
from experiments.settings import SENSORS_OF, BackboneConfig
from launcher.errors import ConfigError

NUM_STAGES = 4


class TransFuser(Backbone):
    """Camera and LiDAR to bird's-eye-view tokens: the fused LiDAR map at `bev_anchors_hw`.

    Pixels are scaled to [0, 1] and not standardised, as published.
    """

    is_convolutional = True

    def __init__(
        self,
        config: BackboneConfig,
        *,
        image_hw: tuple[int, int],
        bev_px: int,
        weights: Path | None = None,
    ) -> None:
        """Build the backbone.

        Args:
            config: Sizes; `name` is `transfuser` or `ltf`.
            image_hw: Height and width of the stitched camera image [px].
            bev_px: Edge of the LiDAR histogram, or of the learned map in its place [px].
            weights: State dict of timm's ResNet for the camera branch, which the published
                training starts from ImageNet; random if absent.
        """
        super().__init__()
        _check(config, bev_px)
        self.bev_px = bev_px
        self.image = ResNetBranch(3, config.stage_blocks, config.stage_channels)
        self.lidar = ResNetBranch(1, config.stage_blocks, config.stage_channels)
        self.latent = (
            nn.Parameter(torch.randn(1, 1, bev_px, bev_px)) if config.name == "ltf" else None
        )
        bev_hw = (bev_px, bev_px)
        self.fusions = nn.ModuleList(
            StageFusion(config, dim, _stage_hw(image_hw, i), _stage_hw(bev_hw, i))
            for i, dim in enumerate(config.stage_channels)
        )
        last_hw = _stage_hw(bev_hw, NUM_STAGES - 1)
        self.pool_tokens = Resample.pool(last_hw, pair(config.bev_anchors_hw))
        self.top_down: TopDown | None = None
        self.semantics: SemanticMap | None = None
        if config.auxiliary == "navsim":
            dim, channels = config.stage_channels[-1], config.bev_channels
            self.top_down = TopDown(dim, channels, last_hw, bev_px)
            self.semantics = SemanticMap(channels, bev_px)
            self.targets = frozenset({"bev_semantics"})
        self.spec = BackboneSpec(
            name=config.name,
            token_dim=config.stage_channels[-1],
            grid_hw=pair(config.bev_anchors_hw),
            sensors=frozenset(SENSORS_OF[config.name]),
            input_hw=pair(image_hw),
        )
        # Not in the spec, whose digest stands for all weights: the other parts are random.
        self.camera_sha256 = load_timm(self.image, weights) if weights else None
        # Modules by other names, which own nothing: nn.Module ignores lists.
        stages = zip(self.image.stages(), self.lidar.stages(), self.fusions, strict=True)
        self._parts = [
            _Stems(self.image.stem(), self.lidar.stem()),
            *(_Stage(*modules) for modules in stages),
            _Top(self.pool_tokens, self.top_down),
        ]
        self._semantic_loss = [SemanticLoss(self.semantics)] if self.semantics else []

    def encode(self, batch: Mapping[str, Tensor]) -> Encoded:
        """Return (B, N, C) tokens; row 0 of the grid is row 0 of the LiDAR histogram."""
        require_shape("image", batch["image"], (3, *self.spec.input_hw))
        maps: tuple[Tensor, ...] = (batch["image"], self._histogram(batch))
        for part in self._parts:
            maps = self.run(part, *maps)
        return Encoded(*maps)

    def auxiliary_loss(self, encoded: Encoded, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return 10 x the cross-entropy of the semantic map, with `auxiliary=navsim`."""
        if encoded.bev is None:
            return {}
        (loss,) = self.run(self._semantic_loss[0], encoded.bev, batch["bev_semantics"])
        return {"bev_semantics": loss}

    def describe(self) -> dict[str, Any]:
        """Say which auxiliary loss is learnt and where the camera branch starts from."""
        return {
            "auxiliary": "none" if self.semantics is None else "bev_semantics",
            "camera_branch": self.camera_sha256 or "random",
        }

    def blocks(self) -> list[nn.Module]:
        """Return the four stages, each with both branches and their fusion."""
        stages = zip(self.image.stages(), self.lidar.stages(), self.fusions, strict=True)
        return [nn.ModuleList(stage) for stage in stages]

    def _histogram(self, batch: Mapping[str, Tensor]) -> Tensor:
        if self.latent is not None:
            return self.latent.expand(len(batch["image"]), -1, -1, -1)
        require_shape("lidar", batch["lidar"], (1, self.bev_px, self.bev_px))
        return batch["lidar"]


class _Stems(nn.Module):
    """The first layers of both branches."""

    def __init__(self, image: nn.Module, lidar: nn.Module) -> None:
        super().__init__()
        self.image, self.lidar = image, lidar

    def forward(self, image: Tensor, histogram: Tensor) -> tuple[Tensor, Tensor]:
        like = first_parameter(self.image)
        return self.image(unit_range(image, like)), self.lidar(histogram.to(like.dtype))


class _Stage(nn.Module):
    """A stage of both branches, and what they tell each other after it."""

    def __init__(self, image: nn.Module, lidar: nn.Module, fuse: nn.Module) -> None:
        super().__init__()
        self.image, self.lidar, self.fuse = image, lidar, fuse

    def forward(self, image: Tensor, bev: Tensor) -> tuple[Tensor, Tensor]:
        fused: tuple[Tensor, Tensor] = self.fuse(self.image(image), self.lidar(bev))
        return fused


class _Top(nn.Module):
    """Tokens, and the features of the semantic map if there is one."""

    def __init__(self, pool: nn.Module, top_down: nn.Module | None) -> None:
        super().__init__()
        self.pool, self.top_down = pool, top_down

    def forward(self, image: Tensor, bev: Tensor) -> tuple[Tensor, ...]:
        tokens: Tensor = self.pool(bev).flatten(2).transpose(1, 2)
        return (tokens,) if self.top_down is None else (tokens, self.top_down(bev))


def _stage_hw(hw: tuple[int, int], stage: int) -> tuple[int, int]:
    """Size of a map after a stage: the stem divides by 4, each later stage by 2, rounding up."""
    stride = 4 * 2**stage
    return -(-hw[0] // stride), -(-hw[1] // stride)


def _check(config: BackboneConfig, bev_px: int) -> None:
    if config.auxiliary == "navsim" and bev_px % 4:
        raise ConfigError(
            f"`data.bev_px={bev_px}` is not a multiple of 4, as a semantic map needs it",
            hint=f"nearest legal sizes: {bev_px // 4 * 4} or {bev_px // 4 * 4 + 4}",
        )
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
