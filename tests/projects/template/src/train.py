"""Trains what the config names; knows nothing of our launcher. Tests copy it and start it."""

import os
import sys
from pathlib import Path

import hydra
import pytorch_lightning as pl

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ["PROJECT_ROOT"] = str(ROOT)

from src.instantiators import instantiate_each  # noqa: E402


def train(config):
    pl.seed_everything(config.seed, workers=True)
    data = hydra.utils.instantiate(config.data)
    model = hydra.utils.instantiate(config.model)
    trainer = hydra.utils.instantiate(
        config.trainer,
        callbacks=instantiate_each(config.callbacks),
        logger=instantiate_each(config.logger),
    )
    trainer.fit(model, datamodule=data)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


@hydra.main(version_base="1.3", config_path="../configs", config_name="train.yaml")
def main(config):
    return train(config)[config.optimized_metric]


if __name__ == "__main__":
    main()
