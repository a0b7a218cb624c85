"""The seam between sensors and heads: an encoder that turns a batch into a grid of tokens.

Heads, fine-tuning policies and the planning module know only what is here. Batches hold
`image` uint8 (B, 3, H, W), the stitched left-front-right cameras, and for encoders that ask
for it `lidar` float32 (B, 1, P, P), a bird's-eye-view histogram in [0, 1].
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

from torch import Tensor, nn

from experiments.data.source import Sensor, Target
from experiments.passes import Runner, plainly
from experiments.settings import BackboneConfig
from launcher.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class BackboneSpec:
    """What a backbone is, in plain values, for heads and for run records."""

    name: str
    token_dim: int
    """Channels of a token."""
    grid_hw: tuple[int, int]
    """Rows and columns of the token grid; tokens are stored row by row."""
    sensors: frozenset[Sensor]
    """Batch entries that `encode` reads: `image`, or `image` and `lidar`."""
    input_hw: tuple[int, int]
    """The only image size it accepts [px]."""
    which_encoder: str | None = None
    """Which encoder of a checkpoint was loaded, if any was."""
    weights_sha256: str | None = None
    """Digest of the checkpoint file, if one was loaded."""

    @property
    def num_tokens(self) -> int:
        """Tokens per sample."""
        return self.grid_hw[0] * self.grid_hw[1]


@dataclass(frozen=True)
class Encoded:
    """What an encoder makes of a batch."""

    tokens: Tensor
    """(B, N, C) with N = rows x columns of `spec.grid_hw`, row by row."""
    bev: Tensor | None = None
    """(B, C', H', W') bird's-eye-view features, of encoders that have them, for their own
    auxiliary losses."""


class Backbone(nn.Module, ABC):
    """An encoder of sensor data. It normalises its own input, so caches can hold uint8."""

    spec: BackboneSpec
    targets: frozenset[Target] = frozenset()
    """Batch entries that `auxiliary_loss` reads."""
    is_convolutional: ClassVar[bool] = False
    """Whether most of its work is convolutions, which GPUs do faster with channels last."""
    run: Runner = staticmethod(plainly)
    """Calls the parts that encoders of many small operations consist of."""

    @abstractmethod
    def encode(self, batch: Mapping[str, Tensor]) -> Encoded:
        """Encode the sensors that `spec.sensors` names."""

    def auxiliary_loss(self, encoded: Encoded, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return weighted terms that help the encoder to learn; most encoders have none."""
        return {}

    def describe(self) -> dict[str, Any]:
        """Return what a run's record says of this encoder besides its `spec`."""
        return {}

    @abstractmethod
    def blocks(self) -> list[nn.Module]:
        """Blocks from input to output: the structure that fine-tuning policies act on."""

    def forward(self, batch: Mapping[str, Tensor]) -> Encoded:
        """Encode; here so that module hooks see the call."""
        return self.encode(batch)


def require_shape(name: str, value: Tensor, expected: tuple[int, ...]) -> None:
    """Raise ValueError unless `value` is (B, *expected)."""
    if tuple(value.shape[1:]) != expected:
        raise ValueError(
            f"`{name}` has shape {tuple(value.shape)}, but the backbone was built for"
            f" (batch, {', '.join(map(str, expected))})"
        )


def pair(hw: Sequence[int]) -> tuple[int, int]:
    """Return height and width as a tuple; composed configs hold lists where tuples are meant."""
    height, width = hw
    return height, width


def unit_range(image: Tensor, like: Tensor) -> Tensor:
    """Return uint8 pixels as new numbers in [0, 1] with the dtype of `like`."""
    return image.float().div_(255.0).to(like.dtype)


def build_backbone(
    config: BackboneConfig, *, image_hw: tuple[int, int], bev_px: int, weights: Path | None = None
) -> Backbone:
    """Build the backbone that `config.name` names.

    Args:
        config: Sizes and name.
        image_hw: Height and width of the stitched camera image [px].
        bev_px: Edge of the LiDAR histogram [px].
        weights: Checkpoint of the pretraining task; needed if and only if
            `config.weights` is `pretrain`.
    """
    path = _weights_path(config, weights)
    # Imported here because these modules derive from `Backbone` above.
    from experiments.models.blind import BlindBackbone
    from experiments.models.ijepa import IJepaBackbone
    from experiments.models.transfuser import TransFuser
    from experiments.models.vit import ViTBackbone
    from experiments.models.vovnet import VoVNetBackbone

    if config.name == "blind":
        return BlindBackbone(image_hw=image_hw)
    if config.name in ("transfuser", "ltf"):
        return TransFuser(config, image_hw=image_hw, bev_px=bev_px, weights=path)
    of_image: dict[str, Callable[..., Backbone]] = {
        "ijepa": IJepaBackbone,
        "vovnet": VoVNetBackbone,
        "dinov2": ViTBackbone,
        "vit_supervised": ViTBackbone,
    }
    return of_image[config.name](config, image_hw=image_hw, weights=path)


def _weights_path(config: BackboneConfig, of_pretraining: Path | None) -> Path | None:
    if config.weights == "pretrain" and of_pretraining is None:
        raise ConfigError(
            "`backbone.weights=pretrain` needs the checkpoint of a pretrain run",
            hint="run the same backbone with task=pretrain first",
        )
    if config.weights != "pretrain" and of_pretraining is not None:
        raise ConfigError(
            f"a checkpoint was given (`{of_pretraining}`) although"
            f" `backbone.weights={config.weights}`",
            hint="use backbone.weights=pretrain to load it, or requires.encoder=null",
        )
    return of_pretraining or config.weights_file


def first_parameter(module: nn.Module) -> Tensor:
    """Return a parameter of the module, to ask for its dtype and device."""
    return cast(Tensor, next(module.parameters()))
