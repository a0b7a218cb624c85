"""The planner as a LightningModule: backbone, fine-tuning policy, head, loss, optimiser.

It knows nothing about files, splits or scores.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from experiments.models.backbone import Backbone, build_backbone
from experiments.models.finetune import FrozenBackbone, apply_policy, check
from experiments.models.head import MlpHead, build_head
from experiments.models.optimizers import build_optimizer, lr_factor
from experiments.settings import ExperimentConfig, FinetuneConfig, OptimizerConfig

HEADING_WEIGHT_M = 5.0
"""Metres that one radian of heading error costs: about what it moves the front bumper by."""
FROZEN_DIGEST = "frozen_backbone_sha256"
"""Entry of a checkpoint that says which frozen backbone its head was trained on."""


class PlanningModule(LightningModule):
    """Learns to imitate the human trajectory.

    Batches hold the sensors of the backbone, `status` float32 (B, 8) and `trajectory` float32
    (B, 8, 3).
    """

    def __init__(
        self,
        backbone: Backbone,
        head: MlpHead,
        *,
        finetune: FinetuneConfig,
        optimizer: OptimizerConfig,
        max_steps: int,
    ) -> None:
        super().__init__()
        self.backbone = apply_policy(finetune, backbone)
        self.head = head
        self.finetune_config = finetune
        self.optimizer_config = optimizer
        self.max_steps = max_steps
        frozen = self.backbone if isinstance(self.backbone, FrozenBackbone) else None
        self.frozen_digest = frozen.digest() if frozen else None

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return poses (B, 8, 3): x, y [m] and heading [rad] in the current ego frame."""
        poses: Tensor = self.head(self.backbone(batch), batch["status"])
        return poses

    def training_step(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return and log the imitation loss of one micro-batch."""
        loss = trajectory_loss(self(batch), batch["trajectory"])
        self.log("train/loss", loss, batch_size=len(batch["trajectory"]))
        return loss

    def validation_step(self, batch: Mapping[str, Tensor]) -> None:
        """Log loss and displacement errors, averaged over all samples of all ranks."""
        predicted, target = self(batch), batch["trajectory"]
        distance = displacement(predicted, target)
        metrics = {
            "val/loss": trajectory_loss(predicted, target),
            "val/ade_m": distance.mean(),
            "val/fde_m": distance[:, -1].mean(),
        }
        self.log_dict(metrics, on_epoch=True, sync_dist=True, batch_size=len(target))

    @torch.no_grad()
    def predict(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return poses (B, 8, 3) float32, in evaluation mode whatever the mode was."""
        was_training = self.training
        self.eval()
        try:
            poses: Tensor = self(batch).float()
            return poses
        finally:
            self.train(was_training)

    def configure_optimizers(self) -> Any:
        """Build optimiser and schedule, and check them against the fine-tuning policy."""
        config = self.optimizer_config
        optimizer = build_optimizer(self.parameters(), config)
        check(self.finetune_config, self.backbone, optimizer)
        schedule = LambdaLR(optimizer, lr_factor(config, self.max_steps))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip to `optimizer.gradient_clip`; the Trainer needs no clipping of its own."""
        limit = self.optimizer_config.gradient_clip or gradient_clip_val
        self.clip_gradients(optimizer, limit, gradient_clip_algorithm)

    def parameter_counts(self) -> dict[str, int]:
        """Return `total`, `trainable` and `frozen` numbers of parameters."""
        parameters = list(self.parameters())
        if isinstance(self.backbone, FrozenBackbone):
            parameters += self.backbone.inner.parameters()
        total = sum(p.numel() for p in parameters)
        trainable = sum(p.numel() for p in parameters if p.requires_grad)
        return {"total": total, "trainable": trainable, "frozen": total - trainable}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Note which frozen backbone belongs to the saved head."""
        if self.frozen_digest is not None:
            checkpoint[FROZEN_DIGEST] = self.frozen_digest

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint whose head was trained on another frozen backbone."""
        if checkpoint.get(FROZEN_DIGEST) != self.frozen_digest:
            raise RuntimeError(
                f"the checkpoint belongs to frozen backbone {checkpoint.get(FROZEN_DIGEST)},"
                f" this module has {self.frozen_digest}"
            )

    def load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Load what a Trainer saved, strictly, without a Trainer."""
        self.on_load_checkpoint(checkpoint)
        self.load_state_dict(checkpoint["state_dict"], strict=True)


def build_planning(config: ExperimentConfig, weights: Path | None = None) -> PlanningModule:
    """Build the module of an experiment; seed torch first, so that random weights repeat.

    Args:
        config: The composed experiment.
        weights: Checkpoint of the pretraining task if `backbone.weights` is `pretrain`.
    """
    backbone = build_backbone(
        config.backbone,
        image_hw=config.data.image_hw,
        bev_px=config.data.bev_px,
        weights=weights,
    )
    return PlanningModule(
        backbone,
        build_head(config.head, backbone.spec),
        finetune=config.finetune,
        optimizer=config.optimizer,
        max_steps=config.trainer.max_steps,
    )


def trajectory_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Return the mean over poses of |dx| + |dy| + 5 m/rad |dheading|, in metres.

    Heading errors are wrapped into [-pi, pi), so 179 and -179 degrees are 2 degrees apart.
    """
    error = predicted.float() - target.float()
    heading = torch.remainder(error[..., 2] + math.pi, 2.0 * math.pi) - math.pi
    return (error[..., :2].abs().sum(dim=-1) + HEADING_WEIGHT_M * heading.abs()).mean()


def displacement(predicted: Tensor, target: Tensor) -> Tensor:
    """Return the distances (B, 8) between predicted and true positions [m]."""
    difference = predicted[..., :2].float() - target[..., :2].float()
    distance: Tensor = torch.linalg.vector_norm(difference, dim=-1)
    return distance
