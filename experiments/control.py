"""What can be planned without looking: a perceptron on the ego status, fitted beside each run.

NAVSIM's blind baseline. It learns from the labels that the run learns from, by the same number of
steps and the seed of the run, and is scored on the same windows: an arm that does not beat it has
not made use of its sensors. It depends on labels, length and seed alone, so arms of one study that
agree in these have the same control, to the bit.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from experiments.data import Splits
from experiments.models.heads import MlpHead
from experiments.models.losses import displacement, trajectory_loss
from experiments.models.optimizers import build_optimizer, lr_factor
from experiments.sampling import global_batch
from experiments.settings import ExperimentConfig, HeadConfig, OptimizerConfig
from launcher.context import RunContext

RECIPE = OptimizerConfig(name="adamw", lr=1e-3, weight_decay=0.01, schedule="cosine")
HEAD = HeadConfig(name="mlp", hidden_dim=128)


def ego_status_plans(
    config: ExperimentConfig, splits: Splits, context: RunContext
) -> npt.NDArray[np.float32]:
    """Fit the control of a run; returns its plans (N, 8, 3) for the test windows.

    The weights with the least validation ADE count, as for the run itself.
    """
    (status, target), (val_status, val_target), (test_status, _) = (
        _labels(splits, rows) for rows in (splits.train, splits.val, splits.test)
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.trainer.seed)
        head = MlpHead(HEAD, token_dim=1, grid_hw=(1, 1))
    best, best_ade_m = None, math.inf
    for _ in _steps(head, status, target, config):
        context.raise_if_stopping()
        ade_m = float(displacement(_plan(head, val_status), val_target).mean())
        if ade_m < best_ade_m:
            best, best_ade_m = copy.deepcopy(head.state_dict()), ade_m
    if best is None:
        raise RuntimeError("no validation of the ego-status control gave a number")
    head.load_state_dict(best)
    planned: npt.NDArray[np.float32] = _plan(head, test_status).numpy()
    return planned


def _labels(splits: Splits, rows: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Return status (n, 8) and human trajectory (n, 8, 3) of windows, as copies."""
    source = splits.source
    return torch.from_numpy(source.status[rows]), torch.from_numpy(source.future[rows])


def _steps(
    head: MlpHead, status: Tensor, target: Tensor, config: ExperimentConfig
) -> Iterator[int]:
    """Train; pauses at each validation."""
    recipe = config.trainer
    optimizer = build_optimizer(head.parameters(), RECIPE)
    schedule = LambdaLR(optimizer, lr_factor(RECIPE, recipe.max_steps))
    for step in range(recipe.max_steps):
        rows = torch.from_numpy(global_batch(len(status), recipe.batch_size, recipe.seed, step))
        output = head(_nothing(len(rows)), status[rows])
        loss = trajectory_loss(output.trajectory, target[rows])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        if (step + 1) % recipe.val_every_steps == 0 or step + 1 == recipe.max_steps:
            yield step + 1


@torch.no_grad()
def _plan(head: MlpHead, status: Tensor) -> Tensor:
    trajectory: Tensor = head(_nothing(len(status)), status).trajectory
    return trajectory


def _nothing(batch: int) -> Tensor:
    """Return one empty token per window."""
    return torch.zeros(batch, 1, 1)
