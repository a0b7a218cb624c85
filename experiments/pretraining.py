"""task=pretrain: the I-JEPA objective on the unlabelled frames of all training logs."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from experiments import fitting
from experiments.data import datasets
from experiments.data.dataset import FrameDataset
from experiments.data.decoding import collate
from experiments.models.ijepa_pretraining import IJepaPretraining, official_checkpoint
from experiments.settings import ExperimentConfig, check_averaging
from launcher.context import RunContext

log = logging.getLogger(__name__)


def pretrain(config: ExperimentConfig, context: RunContext) -> dict[str, Any]:
    """Pretrain the encoder and write it in the official checkpoint layout.

    Returns:
        Loss and collapse measure at the end, and what it was trained on.

    Raises:
        ConfigError: the precision is too coarse for an average of weights.
    """
    recipe = config.backbone.pretrain
    check_averaging(recipe.precision)
    length = replace(
        config.trainer,
        seed=recipe.seed,
        max_steps=recipe.steps,
        batch_size=recipe.batch_size,
        precision=recipe.precision,
        # The target encoder already is an average of the encoder.
        ema_decay=0.0,
    )
    fitting.seed(recipe.seed, context)
    splits = datasets(config.data)
    frames = FrameDataset(
        splits.source, splits.train_frames, cache_decoded=config.data.cache_decoded
    )
    log.info("pretraining on %d unlabelled frames", len(frames))
    module = IJepaPretraining(config.backbone, image_hw=config.data.image_hw)
    trainer = fitting.trainer(length, context, callbacks=[], validate=False)
    workers = config.data.num_workers
    loader = fitting.training_loader(frames, length, context, len(frames), workers, _as_batch)
    trainer.fit(module, loader)
    if context.rank == 0:
        path = fitting.checkpoint_dir(context.run_dir) / "ijepa.pth.tar"
        fitting.save(path, official_checkpoint(module, trainer))
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    return {**metrics, "frames": len(frames), "steps": recipe.steps}


def _as_batch(images: list[Any]) -> dict[str, Any]:
    return {"image": collate(images)}
