"""Sets up a Trainer for whatever started this process, and trains."""

import os

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger

from launcher.context import running
from trainee import journal, mischief
from trainee.data import PointsData
from trainee.model import Model

ACCUMULATION = 2


def train(config):
    run_dir = HydraConfig.get().runtime.output_dir
    torch.set_num_threads(1)
    journal.say_hello(run_dir)
    mischief.before_rendezvous(config.fault, run_dir)
    pl.seed_everything(config.seed, workers=True)
    trainer = make_trainer(config, run_dir)
    model = Model(config, run_dir)
    trainer.fit(model, datamodule=PointsData(config, run_dir), ckpt_path=config.ckpt_path)
    if trainer.is_global_zero:
        journal.say_result(
            run_dir,
            trainer.global_step,
            model=model.net.state_dict(),
            ema=model.ema.state_dict(),
            optimizer=trainer.optimizers[0].state_dict(),
            schedule=trainer.lr_scheduler_configs[0].scheduler.state_dict(),
        )
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def make_trainer(config, run_dir):
    folder = f"{run_dir}/checkpoints"
    last = ModelCheckpoint(
        folder, "step-{step}", save_last=True, every_n_train_steps=config.checkpoint_every_steps
    )
    return pl.Trainer(
        max_epochs=-1,
        max_steps=config.max_steps,
        accumulate_grad_batches=ACCUMULATION,
        check_val_every_n_epoch=None,
        val_check_interval=config.val_every_steps * ACCUMULATION,
        num_sanity_val_steps=0,
        log_every_n_steps=5,
        logger=CSVLogger(run_dir, name="csv"),
        callbacks=[last, ModelCheckpoint(folder, "best", monitor="val/loss")],
        **launch_arguments(run_dir),
    )


def launch_arguments(run_dir):
    """What follows from who started this process: our launcher, or srun alone."""
    run = running()
    if run is not None:
        return run.trainer_arguments()
    ranks = int(os.environ.get("SLURM_NTASKS", "1"))
    return {
        "accelerator": "cpu",
        "devices": int(os.environ.get("SLURM_NTASKS_PER_NODE", "1")),
        "num_nodes": int(os.environ.get("SLURM_NNODES", "1")),
        "strategy": "ddp" if ranks > 1 else "auto",
        "default_root_dir": run_dir,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
