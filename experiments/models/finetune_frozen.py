"""Backbones of which all, or all but the last blocks, cannot learn.

What is frozen is not registered as a submodule. So `train()` never reaches it, and it is in no
optimiser, no average, no DDP bucket and no checkpoint; only moves between devices and dtypes are
passed on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from experiments.models.backbone import Backbone, Encoded
from experiments.models.finetune_layout import Layout


class FrozenBackbone(Backbone):
    """A backbone that cannot learn. It has no auxiliary losses: nothing would learn from them."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.spec = backbone.spec
        self._held = (backbone.requires_grad_(False).eval(),)  # nn.Module ignores tuples

    @property
    def inner(self) -> Backbone:
        """The frozen backbone itself."""
        return self._held[0]

    def encode(self, batch: Mapping[str, Tensor]) -> Encoded:
        """Encode without a graph."""
        # Not inference_mode: its tensors cannot be saved for the head's backward pass.
        with torch.no_grad():
            encoded: Encoded = self.inner(batch)
            return encoded

    def describe(self) -> dict[str, Any]:
        """Return what the frozen backbone says of itself."""
        return self.inner.describe()

    def blocks(self) -> list[nn.Module]:
        """Return the blocks of the frozen backbone."""
        return self.inner.blocks()

    def digest(self) -> str:
        """Identify the weights, which no checkpoint holds.

        Loaded weights are known by file and encoder; random ones by SHA-256 of their bytes.
        """
        return _digest(self.inner, learning=())

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        self.inner._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]


class PartlyFrozenBackbone(Backbone):
    """A backbone whose last blocks learn, with the tail behind them; stem and rest are frozen.

    The modules that learn are registered below the names that they have in the whole backbone, so
    a checkpoint holds a part of what one of the whole backbone would hold.
    """

    def __init__(self, backbone: Backbone, blocks: int) -> None:
        super().__init__()
        self.spec, self.targets = backbone.spec, backbone.targets
        learning = Layout(backbone).last(blocks)
        self._held = (backbone.requires_grad_(False).eval(),)
        for name, module in learning:
            _register(self, name, module.requires_grad_(True).train())

    @property
    def whole(self) -> Backbone:
        """The backbone with its frozen part."""
        return self._held[0]

    def encode(self, batch: Mapping[str, Tensor]) -> Encoded:
        """Encode; the graph begins at the first block that learns."""
        encoded: Encoded = self.whole(batch)
        return encoded

    def auxiliary_loss(self, encoded: Encoded, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the auxiliary terms of the backbone."""
        return self.whole.auxiliary_loss(encoded, batch)

    def describe(self) -> dict[str, Any]:
        """Return what the backbone says of itself."""
        return self.whole.describe()

    def blocks(self) -> list[nn.Module]:
        """Return all blocks, frozen or not."""
        return self.whole.blocks()

    def digest(self) -> str:
        """Identify the frozen weights, which no checkpoint holds; see `FrozenBackbone.digest`."""
        return _digest(self.whole, learning=self.state_dict())

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        # What learns is visited twice; moves and casts that are done twice are done once.
        self.whole._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]


def frozen_parameters(backbone: Backbone) -> list[nn.Parameter]:
    """Return the parameters that its wrapper keeps out of sight."""
    own = {id(p) for p in backbone.parameters()}
    return [p for p in whole_backbone(backbone).parameters() if id(p) not in own]


def whole_backbone(backbone: Backbone) -> Backbone:
    """Return the backbone behind a fine-tuning policy, with what the policy keeps out of sight."""
    if isinstance(backbone, FrozenBackbone):
        return backbone.inner
    return backbone.whole if isinstance(backbone, PartlyFrozenBackbone) else backbone


def frozen_digest(backbone: Backbone) -> str | None:
    """Return the digest of the frozen weights, or None where none are frozen."""
    if isinstance(backbone, (FrozenBackbone, PartlyFrozenBackbone)):
        return backbone.digest()
    return None


def _register(root: nn.Module, name: str, module: nn.Module) -> None:
    *path, last = name.split(".")
    for part in path:
        if part not in root._modules:
            root.add_module(part, nn.Module())
        root = root.get_submodule(part)
    root.add_module(last, module)


def _digest(backbone: Backbone, learning: Container[str]) -> str:
    if backbone.spec.weights_sha256 is not None:
        return f"{backbone.spec.which_encoder or 'weights'}:{backbone.spec.weights_sha256}"
    hasher = hashlib.sha256()
    for name, value in sorted(backbone.state_dict().items()):
        if name in learning:
            continue
        hasher.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        hasher.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return hasher.hexdigest()
