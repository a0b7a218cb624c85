"""Self-supervised pretraining of the I-JEPA encoder (Assran et al., 2023).

A context encoder sees part of an image; a predictor guesses, in feature space, what a slowly
moving average of that encoder (the target encoder) makes of the hidden blocks.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from experiments.models import ijepa_schedules as schedules
from experiments.models.ijepa import PatchEncoder, pick
from experiments.models.ijepa_masks import BlockMasks, sample_masks
from experiments.models.ijepa_predictor import Predictor
from experiments.models.ijepa_weights import PREFIX
from experiments.models.optimizers import decay_groups
from experiments.settings import BackboneConfig

DECAYS = "decays"
"""Entry of a parameter group: 1 if the weight-decay schedule counts for it, else 0."""


class IJepaPretraining(LightningModule):
    """Trains on batches that hold `image` uint8 (B, 3, H, W); nothing else is read.

    Masks depend on the seed, the optimizer step and the place of an image in it, schedules on the
    step. So accumulation, the number of ranks and an interruption change neither. What differs
    from the published training: images are not cropped at random.
    """

    def __init__(self, config: BackboneConfig, *, image_hw: tuple[int, int]) -> None:
        super().__init__()
        self.config = config.pretrain
        self.encoder = PatchEncoder(config, image_hw)
        self.predictor = Predictor(config, self.encoder.grid_hw)
        self.target_encoder = copy.deepcopy(self.encoder).requires_grad_(False)
        self._drawn: tuple[int, BlockMasks] | None = None

    def masks(self, step: int, num_images: int) -> BlockMasks:
        """Return the masks of all images of an optimizer step, the same on every rank."""
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + step)
        return sample_masks(self.config, self.encoder.grid_hw, generator, num_images)

    def targets(self, image: Tensor) -> Tensor:
        """Return the layer-normalised features (B, N, C) of the target encoder."""
        with torch.no_grad():
            features = self.target_encoder(image)
            return functional.layer_norm(features, features.shape[-1:])

    def loss(self, image: Tensor, masks: BlockMasks, targets: Tensor) -> Tensor:
        """Return the smooth L1 distance between predicted and true target features."""
        context = self.encoder(image, masks.context)
        predicted = self.predictor(context, masks)
        return functional.smooth_l1_loss(predicted, pick(targets, masks.targets))

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        """Return the loss of one micro-batch; log it and how alike the features are."""
        image = batch["image"]
        targets = self.targets(image)
        loss = self.loss(image, self._own_masks(batch_idx, len(image)).to(image.device), targets)
        size = image.shape[0]
        self.log("pretrain/loss", loss, batch_size=size)
        self.log("pretrain/feature_std", feature_std(targets), batch_size=size)
        return loss

    def _own_masks(self, batch_idx: int, size: int) -> BlockMasks:
        """Return the masks of the images that this rank holds now, by their place in the step.

        An image has the same mask however the step is spread over ranks and micro-batches.
        """
        ranks, micro_batches = self.trainer.world_size, self.trainer.accumulate_grad_batches
        if self._drawn is None or self._drawn[0] != self.global_step:
            masks = self.masks(self.global_step, ranks * micro_batches * size)
            self._drawn = self.global_step, masks
        place = batch_idx % micro_batches * ranks + self.trainer.global_rank
        return self._drawn[1].rows(place * size, size)

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Any,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Step, then move the target encoder: once per optimizer step, not per micro-batch."""
        step = self.global_step
        momentum = schedules.momentum(self.config, step)
        for group in optimizer.param_groups:
            group["weight_decay"] = group[DECAYS] * schedules.weight_decay(self.config, step)
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.update_target(momentum)

    @torch.no_grad()
    def update_target(self, momentum: float) -> None:
        """Set target = momentum x target + (1 - momentum) x encoder."""
        pairs = zip(self.target_encoder.parameters(), self.encoder.parameters(), strict=True)
        for target, source in pairs:
            target.lerp_(source, 1.0 - momentum)

    def configure_optimizers(self) -> Any:
        """AdamW with a warmed-up cosine; the decay of matrices rises, vectors do not decay."""
        learning = [*self.encoder.parameters(), *self.predictor.parameters()]
        groups = decay_groups(learning, 1.0)
        for group in groups:
            group[DECAYS] = group["weight_decay"]
            group["weight_decay"] *= schedules.weight_decay(self.config, 0)
        optimizer: Optimizer = AdamW(groups, lr=self.config.lr)
        schedule = LambdaLR(
            optimizer, lambda step: schedules.learning_rate(self.config, step) / self.config.lr
        )
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


def official_checkpoint(module: IJepaPretraining, trainer: Trainer | None = None) -> dict[str, Any]:
    """Return what files of the official release hold, under their names.

    `opt` is None without a trainer or `keep_optimizer`; `scaler` is, because bfloat16 needs none.
    """
    loss = trainer.callback_metrics.get("pretrain/loss") if trainer else None
    keep = trainer is not None and module.config.keep_optimizer
    return {
        "encoder": _state(module.encoder),
        "predictor": _state(module.predictor),
        "target_encoder": _state(module.target_encoder),
        "opt": trainer.optimizers[0].state_dict() if trainer and keep else None,
        "scaler": None,
        "epoch": int(module.current_epoch),
        "step": int(module.global_step),
        "loss": float(loss) if loss is not None else None,
        "batch_size": int(module.config.batch_size),
        "world_size": int(trainer.world_size) if trainer else 1,
        "lr": float(module.config.lr),
    }


def _state(part: nn.Module) -> dict[str, Tensor]:
    state = part.state_dict()
    return {PREFIX + name: value.detach().cpu().clone() for name, value in state.items()}
