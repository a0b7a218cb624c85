"""The planner as a LightningModule: backbone, fine-tuning policy, head, loss, optimiser.

It knows nothing about files, splits or scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor
from torch.optim import Optimizer

from experiments.data.source import Target
from experiments.devices import moved_beside
from experiments.models.backbone import Backbone, build_backbone
from experiments.models.finetune import apply_policy, frozen_digest, frozen_parameters
from experiments.models.finetune_optimizer import configure
from experiments.models.heads import FlatHead, PlanningHead, PlanOutput, build_head
from experiments.models.losses import displacement, trajectory_loss
from experiments.models.pooling import pooled
from experiments.passes import Runner, plainly
from experiments.settings import ExperimentConfig, FinetuneConfig, OptimizerConfig
from experiments.vocabulary import Vocabulary

INDEX = "index"
"""Entry of a batch that says which windows it holds."""
FROZEN_DIGEST = "frozen_backbone_sha256"
"""Entry of a checkpoint that says which frozen backbone its head was trained on."""
PROVENANCE = "provenance"
"""Entry of a checkpoint that says what its weights were learnt from."""


class PlanningModule(LightningModule):
    """Learns to imitate the human trajectory.

    Batches hold the sensors of the backbone, `status` float32 (B, 8) and `trajectory` float32
    (B, 8, 3).
    """

    def __init__(
        self,
        backbone: Backbone,
        head: PlanningHead,
        *,
        finetune: FinetuneConfig,
        optimizer: OptimizerConfig,
        max_steps: int,
    ) -> None:
        super().__init__()
        self.backbone = apply_policy(finetune, backbone)
        self.head = head
        self._flat_head = (FlatHead(head),)  # nn.Module ignores tuples
        self.run: Runner = plainly
        """Calls the head in training, where it may be recorded."""
        self.finetune_config = finetune
        self.optimizer_config = optimizer
        self.max_steps = max_steps
        self.frozen_digest = frozen_digest(self.backbone)
        self.provenance: dict[str, str] = {}
        """What it learns from, e.g. the digest of its training tokens; goes into checkpoints."""
        self.parameters_elsewhere = 0
        """Parameters of the frozen encoder behind stored features, which is not here."""

    @property
    def targets(self) -> frozenset[Target]:
        """Batch entries besides `trajectory` that the loss reads."""
        return self.backbone.targets | self.head.targets

    def forward(self, batch: Mapping[str, Tensor]) -> PlanOutput:
        """Plan."""
        output: PlanOutput = self.head(self.backbone(batch).tokens, batch["status"])
        return output

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        """Copy it beside the step before; `index` stays on the host, as an array.

        Asking a GPU for it would wait for all that the GPU does, and so would DDP, which copies
        each tensor of a batch that lies elsewhere.
        """
        tensors = {name: value for name, value in batch.items() if name != INDEX}
        move = partial(super().transfer_batch_to_device, tensors, device, dataloader_idx)
        stays = {INDEX: batch[INDEX].numpy()} if INDEX in batch else {}
        return {**moved_beside(move, device), **stays}

    def training_step(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the loss of one micro-batch; log it and its terms."""
        encoded = self.backbone(batch)
        output = self._plan(encoded.tokens, batch["status"])
        terms = {
            **self.head.loss(output, batch),
            **self.backbone.auxiliary_loss(encoded, batch),
        }
        loss = torch.stack(list(terms.values())).sum()
        logged = {"train/loss": loss, **{f"train/{name}_loss": t for name, t in terms.items()}}
        self.log_dict(logged, batch_size=len(batch["trajectory"]))
        return loss

    def _plan(self, tokens: Tensor, status: Tensor) -> PlanOutput:
        if not self.head.is_recordable:
            output: PlanOutput = self.head(tokens, status)
            return output
        (flat,) = self._flat_head
        return flat.output(*self.run(flat, tokens, status))

    def validation_step(self, batch: Mapping[str, Tensor]) -> None:
        """Log loss and displacement errors, averaged over all samples of all ranks."""
        predicted, target = self(batch).trajectory, batch["trajectory"]
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
            poses: Tensor = self(batch).trajectory.float()
            return poses
        finally:
            self.train(was_training)

    def configure_optimizers(self) -> Any:
        """Build optimiser and schedule, and check them against the fine-tuning policy."""
        return configure(
            self.backbone,
            self.head,
            finetune=self.finetune_config,
            optimizer=self.optimizer_config,
            max_steps=self.max_steps,
        )

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
        parameters = [*self.parameters(), *frozen_parameters(self.backbone)]
        total = sum(p.numel() for p in parameters) + self.parameters_elsewhere
        trainable = sum(p.numel() for p in parameters if p.requires_grad)
        return {"total": total, "trainable": trainable, "frozen": total - trainable}

    def describe(self) -> dict[str, Any]:
        """Return what a run's record says of the model, in plain values."""
        spec = self.backbone.spec
        return {
            **{f"backbone.{name}": value for name, value in self.backbone.describe().items()},
            **{f"head.{name}": value for name, value in self.head.describe().items()},
            "backbone": spec.name,
            "which_encoder": spec.which_encoder,
            "weights_sha256": spec.weights_sha256,
            "frozen_backbone_sha256": self.frozen_digest,
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Note which frozen backbone belongs to the saved head, and what it was learnt from."""
        checkpoint[PROVENANCE] = dict(self.provenance)
        if self.frozen_digest is not None:
            checkpoint[FROZEN_DIGEST] = self.frozen_digest

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another frozen backbone, or, to go on with, of other data."""
        if checkpoint.get(FROZEN_DIGEST) != self.frozen_digest:
            raise RuntimeError(
                f"the checkpoint belongs to frozen backbone {checkpoint.get(FROZEN_DIGEST)},"
                f" this module has {self.frozen_digest}"
            )
        known = checkpoint.get(PROVENANCE, {})
        other = [k for k, v in self.provenance.items() if known.get(k, v) != v]
        if other:
            raise RuntimeError(
                f"the checkpoint was learnt from other data: {', '.join(other)} differ"
            )

    def load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Load what a Trainer saved, strictly, without a Trainer."""
        self.on_load_checkpoint(checkpoint)
        self.load_state_dict(checkpoint["state_dict"], strict=True)


def build_planning(
    config: ExperimentConfig,
    weights: Path | None = None,
    vocabulary: Vocabulary | None = None,
    backbone: Backbone | None = None,
) -> PlanningModule:
    """Build the module of an experiment; seed torch first, so that random weights repeat.

    Args:
        config: The composed experiment.
        weights: Checkpoint of the pretraining task if `backbone.weights` is `pretrain`.
        vocabulary: Trajectories among which a head with anchors chooses.
        backbone: What stands in for the encoder, such as stored features of it.
    """
    head_seed = int(torch.randint(2**62, ()))
    if backbone is None:
        encoder = build_backbone(
            config.backbone,
            image_hw=config.data.image_hw,
            bev_px=config.data.bev_px,
            weights=weights,
        )
        backbone = pooled(encoder, config.features.pool_hw)
    # A head starts alike on an encoder, which draws its weights first, and on stored features.
    torch.manual_seed(head_seed)
    return PlanningModule(
        backbone,
        build_head(config.head, backbone.spec, vocabulary),
        finetune=config.finetune,
        optimizer=config.optimizer,
        max_steps=config.trainer.max_steps,
    )
