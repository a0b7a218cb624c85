"""An exponential moving average of the weights that learn, which is what counts at the end.

docs/decisions/0016-our-own-average.md says why it is not Lightning's.
"""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from torch import Tensor

TRAINED = "weights_behind_the_average"
"""Entry of a checkpoint with the weights that training goes on from; `state_dict` is averaged."""


class WeightAverage(pl.Callback):
    """Averages parameters that learn and floating-point buffers after each optimizer step.

    After step t the average moves towards the weights by 1 - min(decay, (1 + t) / (10 + t)), so
    that a short training is not ruled by its random start. Frozen parts are not in it. Validation
    sees the average, checkpoints hold it as the weights of the module, and beside it the weights
    that training goes on from; after training the module has those.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self._average: dict[str, Tensor] = {}
        """The average; while swapped, the weights that training goes on from."""
        self._own: dict[str, Tensor] = {}
        """The module's tensors of the same names."""
        self._is_swapped = False
        self._step = 0

    def momentum(self, step: int) -> float:
        """Return what the average keeps of itself after optimizer step `step`, counted from 1."""
        return min(self.decay, (1 + step) / (10 + step))

    # ---- training ---------------------------------------------------------------------------

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin with the weights as they are, or where the loaded checkpoint left the average."""
        own = self._own = averaged(pl_module)
        start = self._average or {name: value.detach().clone() for name, value in own.items()}
        self._average = {name: start[name].to(value.device) for name, value in own.items()}
        self._step = trainer.global_step

    @torch.no_grad()
    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Move, once per optimizer step."""
        if trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        weight = 1.0 - self.momentum(self._step)
        torch._foreach_lerp_(list(self._average.values()), list(self._own.values()), weight)

    # ---- validation -------------------------------------------------------------------------

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Validate the average."""
        if not self._own:
            return  # a sanity check, or a validation outside of a training
        if trainer.world_size > 1:
            self._share_buffers(pl_module)
        self._swap()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go on from the weights."""
        self._swap_back()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Leave the module as training knows it."""
        self._swap_back()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Forget the average with the training that it belongs to."""
        self._swap_back()
        self._average, self._own = {}, {}

    def _share_buffers(self, module: pl.LightningModule) -> None:
        """Take those of rank 0, which are saved: running statistics differ between ranks."""
        learning = {name for name, _ in module.named_parameters()}
        for name, value in self._average.items():
            if name not in learning:
                dist.broadcast(value, src=0)

    @torch.no_grad()
    def _swap(self) -> None:
        for name, value in self._own.items():
            held = self._average[name].clone()
            self._average[name].copy_(value)
            value.copy_(held)
        self._is_swapped = not self._is_swapped

    def _swap_back(self) -> None:
        if self._is_swapped:
            self._swap()

    # ---- checkpoints ------------------------------------------------------------------------

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Save the average as the weights, and the weights beside it."""
        if not self._average:
            return
        own = {name: value.detach() for name, value in averaged(pl_module).items()}
        held = self._average
        trained, average = (held, own) if self._is_swapped else (own, held)
        checkpoint["state_dict"] = {**checkpoint["state_dict"], **average}
        checkpoint[TRAINED] = dict(trained)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Go on from a checkpoint: the module has loaded the average, and gets its weights here.

        Raises:
            RuntimeError: it was saved by a training without an average, or that learnt other parts.
        """
        own, trained = averaged(pl_module), checkpoint.get(TRAINED)
        if trained is None or trained.keys() != own.keys():
            raise RuntimeError(
                "the checkpoint has no average of the weights that learn here; it is from a"
                " training with another trainer.ema_decay or finetune policy"
            )
        saved = checkpoint["state_dict"]
        self._average = {name: saved[name].detach().clone() for name in own}
        with torch.no_grad():
            for name, value in own.items():
                value.copy_(trained[name])


def averaged(module: pl.LightningModule) -> dict[str, Tensor]:
    """Return what is averaged, by its name in `state_dict`: parameters that learn, float buffers.

    Counters are no floats and stay as they are.
    """
    learning = {name: p for name, p in module.named_parameters() if p.requires_grad}
    parameters = dict(module.named_parameters())
    buffers = {
        name: value
        for name, value in module.state_dict(keep_vars=True).items()
        if name not in parameters and value.is_floating_point()
    }
    return {**learning, **buffers}
