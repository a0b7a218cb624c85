"""Self-supervised pretraining of the I-JEPA encoder (Assran et al., 2023).

A context encoder sees part of an image; a predictor guesses, in feature space, what a slowly
moving average of that encoder (the target encoder) makes of the hidden blocks.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from experiments.models.ijepa import PatchEncoder
from experiments.models.ijepa_masks import BlockMasks, sample_masks
from experiments.models.ijepa_predictor import Predictor
from experiments.models.ijepa_weights import PREFIX
from experiments.models.optimizers import decay_groups, lr_factor
from experiments.settings import BackboneConfig, OptimizerConfig

WARMUP_SHARE = 0.1
"""Share of the steps over which the learning rate rises; then it follows a cosine to 0."""


class IJepaPretraining(LightningModule):
    """Trains on batches that hold `image` uint8 (B, 3, H, W); nothing else is read.

    Masks and EMA momentum depend on the seed and the optimizer step only, so accumulation,
    the number of ranks and an interruption change neither.
    """

    def __init__(self, config: BackboneConfig, *, image_hw: tuple[int, int]) -> None:
        super().__init__()
        self.config = config.pretrain
        self.encoder = PatchEncoder(config, image_hw)
        self.predictor = Predictor(config, self.encoder.grid_hw)
        self.target_encoder = copy.deepcopy(self.encoder).requires_grad_(False)

    def masks(self, step: int) -> BlockMasks:
        """Return the masks of an optimizer step, the same on every rank."""
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + step)
        return sample_masks(self.config, self.encoder.grid_hw, generator)

    def momentum(self, step: int) -> float:
        """Return the EMA momentum after an optimizer step: `ema_start`, linearly to 1."""
        start = self.config.ema_start
        return start + (1.0 - start) * min(1.0, step / self.config.steps)

    def targets(self, image: Tensor) -> Tensor:
        """Return the layer-normalised features (B, N, C) of the target encoder."""
        with torch.no_grad():
            features = self.target_encoder(image)
            return functional.layer_norm(features, features.shape[-1:])

    def loss(self, image: Tensor, masks: BlockMasks, targets: Tensor) -> Tensor:
        """Return the smooth L1 distance between predicted and true target features."""
        context = self.encoder(image, masks.context)
        predicted = self.predictor(context, masks)
        return functional.smooth_l1_loss(predicted, targets[:, masks.targets])

    def training_step(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the loss of one micro-batch; log it and how alike the features are."""
        image = batch["image"]
        targets = self.targets(image)
        loss = self.loss(image, self.masks(self.global_step).to(image.device), targets)
        size = image.shape[0]
        self.log("pretrain/loss", loss, batch_size=size)
        self.log("pretrain/feature_std", feature_std(targets), batch_size=size)
        return loss

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Any,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Step, then move the target encoder: once per optimizer step, not per micro-batch."""
        momentum = self.momentum(self.global_step)
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.update_target(momentum)

    @torch.no_grad()
    def update_target(self, momentum: float) -> None:
        """Set target = momentum x target + (1 - momentum) x encoder."""
        pairs = zip(self.target_encoder.parameters(), self.encoder.parameters(), strict=True)
        for target, source in pairs:
            target.lerp_(source, 1.0 - momentum)

    def configure_optimizers(self) -> Any:
        """AdamW with a warmed-up cosine; vectors do not decay."""
        learning = [*self.encoder.parameters(), *self.predictor.parameters()]
        groups = decay_groups(learning, self.config.weight_decay)
        optimizer: Optimizer = AdamW(groups, lr=self.config.lr)
        warmup = int(WARMUP_SHARE * self.config.steps)
        recipe = OptimizerConfig(schedule="cosine", warmup_steps=warmup)
        schedule = LambdaLR(optimizer, lr_factor(recipe, self.config.steps))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def feature_std(features: Tensor) -> Tensor:
    """Return how much features (B, N, C) differ between images: mean std over the batch.

    Normalised features have unit variance within a token, so this lies between 0 (collapsed:
    every image gives the same features) and about 1.
    """
    return features.std(dim=0, correction=0).mean()


def official_checkpoint(module: IJepaPretraining) -> dict[str, Any]:
    """Return encoder, predictor and target encoder in the layout of the official release."""
    return {
        "encoder": _state(module.encoder),
        "predictor": _state(module.predictor),
        "target_encoder": _state(module.target_encoder),
        "epoch": int(module.current_epoch),
        "step": int(module.global_step),
        "batch_size": int(module.config.batch_size),
        "lr": float(module.config.lr),
    }


def _state(part: nn.Module) -> dict[str, Tensor]:
    state = part.state_dict()
    return {PREFIX + name: value.detach().cpu().clone() for name, value in state.items()}
