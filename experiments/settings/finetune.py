"""Which parameters of a backbone learn, and how fast."""

from __future__ import annotations

from dataclasses import dataclass

from launcher.errors import ConfigError, at_least, one_of

POLICIES = ("frozen", "last_n", "layerwise_decay", "full")


@dataclass(kw_only=True)
class FinetuneConfig:
    """Which parameters of the backbone learn, and how fast. Blocks are counted from the input."""

    policy: str = "full"
    """`frozen` (eval mode, no gradients, not in the optimiser or the checkpoint), `last_n` (the
    last `blocks` and what follows them learn, the rest is frozen), `layerwise_decay` (all learn,
    the slower the nearer to the input) or `full`."""
    blocks: int = 4
    """`last_n` only: blocks that learn, at least 1 and at most all. A transformer layer is a block
    of a ViT, a stage with its fusion one of TransFuser."""
    lr_scale: float = 1.0
    """Factor on the learning rate of the backbone; that of the head stays `optimizer.lr`."""
    layer_decay: float = 0.75
    """`layerwise_decay` only: factor on the learning rate from each block to the one before it, in
    (0, 1]. The last block has `layer_decay`, the first of n `layer_decay`**n, patch embedding and
    positions once more."""

    def __post_init__(self) -> None:
        one_of("finetune.policy", self.policy, POLICIES)
        at_least("finetune.blocks", self.blocks, 1)
        if not self.lr_scale > 0:
            raise ConfigError(
                f"`finetune.lr_scale={self.lr_scale}` is not above 0",
                hint="finetune=frozen keeps the backbone as it is",
            )
        if not 0 < self.layer_decay <= 1:
            raise ConfigError(f"`finetune.layer_decay={self.layer_decay}` is outside (0, 1]")
