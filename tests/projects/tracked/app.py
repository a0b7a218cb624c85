"""A training of a fraction of a second that is tracked, and sends itself signals on demand."""

import os
import signal
import time

import hydra
import pytorch_lightning as pl
import torch
from omegaconf import OmegaConf
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset

import launcher
from launcher.tracking import running as tracking


class Model(pl.LightningModule):
    """Learns a line, slowly on demand."""

    def __init__(self, step_s: float) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
        self.step_s = step_s

    def training_step(self, batch, batch_idx):
        time.sleep(self.step_s)
        loss = self.layer(batch[0]).square().mean()
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", self.layer(batch[0]).square().mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Disturb(pl.Callback):
    """Sends this process a signal after a step, as whoever ends it would."""

    def __init__(self, step: int, name: str) -> None:
        self.step = step
        self.name = name

    def on_train_batch_end(self, trainer, *args, **kwargs):
        if trainer.global_step == self.step:
            time.sleep(0.3)  # a checkpoint that is being written is on disk
            os.kill(os.getpid(), getattr(signal, self.name))


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config):
    run = launcher.current()
    tracking.begin(OmegaConf.to_container(config, resolve=True), run)
    tracking.describe(parameters=5)
    pl.seed_everything(1, verbose=False)
    number = int(run.attempt.partition("-")[2])
    found = [Disturb(*config.signals[number])] if number < len(config.signals) else []
    points = DataLoader(TensorDataset(torch.randn(400, 4)), batch_size=4)
    trainer = pl.Trainer(
        **run.trainer_arguments(),
        callbacks=[*found, ModelCheckpoint(run.run_dir / "kept", "best", monitor="val/loss")],
        logger=tracking.loggers(run) or False,
        max_steps=config.steps,
        log_every_n_steps=config.log_every,
        val_check_interval=20,
        check_val_every_n_epoch=None,
        limit_val_batches=2,
        num_sanity_val_steps=0,
    )
    model = Model(config.step_s)
    began = time.monotonic()
    trainer.fit(model, points, DataLoader(TensorDataset(torch.randn(8, 4)), batch_size=4))
    return {"loss": float(trainer.callback_metrics["train/loss"]), "s": time.monotonic() - began}


if __name__ == "__main__":
    main()
