"""Which parameters of a backbone learn. Policies act on structure, never on names."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from experiments.models.backbone import Backbone
from experiments.settings import FinetuneConfig


class FrozenBackbone(Backbone):
    """A backbone that cannot learn.

    The inner backbone is not registered as a submodule. So `train()` never reaches it, and it
    is in no optimiser, no DDP bucket and no checkpoint; only moves between devices and dtypes
    are passed on.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.spec = backbone.spec
        self._held = (backbone.requires_grad_(False).eval(),)  # nn.Module ignores tuples

    @property
    def inner(self) -> Backbone:
        """The frozen backbone itself."""
        return self._held[0]

    def encode(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return tokens (B, N, C) without a graph."""
        # Not inference_mode: its tensors cannot be saved for the head's backward pass.
        with torch.no_grad():
            return self.inner.encode(batch)

    def blocks(self) -> list[nn.Module]:
        """Return the blocks of the frozen backbone."""
        return self.inner.blocks()

    def digest(self) -> str:
        """Identify the weights, which no checkpoint holds.

        Loaded weights are known by file and encoder; random ones by SHA-256 of their bytes.
        """
        if self.spec.weights_sha256 is not None:
            return f"{self.spec.which_encoder}:{self.spec.weights_sha256}"
        hasher = hashlib.sha256()
        for name, value in sorted(self.inner.state_dict().items()):
            hasher.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
            hasher.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return hasher.hexdigest()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        self.inner._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]


def apply_policy(config: FinetuneConfig, backbone: Backbone) -> Backbone:
    """Return the backbone as `config.policy` wants it."""
    if config.policy == "frozen":
        return FrozenBackbone(backbone)
    backbone.requires_grad_(True)
    return backbone


def check(config: FinetuneConfig, backbone: Backbone, optimizer: Optimizer) -> None:
    """Raise RuntimeError unless gradients, modes and optimiser are what the policy plans.

    May be called after construction and after any step.
    """
    held = [p for group in optimizer.param_groups for p in group["params"]]
    in_optimizer = {id(p) for p in held}
    problems = ["a parameter is in two groups"] if len(in_optimizer) < len(held) else []
    if config.policy == "frozen":
        problems += _frozen_problems(backbone, in_optimizer)
    else:
        problems += [
            f"`{name}` does not learn"
            for name, p in backbone.named_parameters()
            if not p.requires_grad or id(p) not in in_optimizer
        ]
    if problems:
        raise RuntimeError(f"finetune.policy={config.policy} is broken: {'; '.join(problems)}")


def _frozen_problems(backbone: Backbone, in_optimizer: set[int]) -> list[str]:
    if not isinstance(backbone, FrozenBackbone):
        return ["the backbone is not frozen"]
    problems = []
    if backbone.state_dict():
        problems.append("the wrapper has parameters or buffers of its own")
    for name, p in backbone.inner.named_parameters():
        if p.requires_grad or p.grad is not None or id(p) in in_optimizer:
            problems.append(f"`{name}` learns")
    training = [name or "backbone" for name, m in backbone.inner.named_modules() if m.training]
    return problems + [f"`{name}` is in training mode" for name in training]
