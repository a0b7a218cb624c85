"""Where Lightning's loops stand between two batches, so that a restart goes on right there.

Lightning's own restart logic knows checkpoints that its ModelCheckpoint saves inside of hooks.
The states here are taken between hooks, when all of a batch is done. The few corrections keep
that logic from counting a step twice or skipping a validation; tests/local/test_exact_resume.py
stops after each step of several trainings to prove them.
"""

from __future__ import annotations

import copy
from typing import Any

import pytorch_lightning as pl
import torch
import torchmetrics

_BATCHES = "epoch_loop.batch_progress"
_LOOP = "epoch_loop.state_dict"
_VALIDATION = "epoch_loop.val_loop.batch_progress"


def between_batches(trainer: pl.Trainer, checkpoint: dict[str, Any]) -> None:
    """Correct the loops of a checkpoint that was taken before a training batch is drawn."""
    loop = trainer.fit_loop.epoch_loop
    fetcher = trainer.fit_loop._data_fetcher
    assert fetcher is not None
    if loop._should_check_val_fx(fetcher):
        # A restart here passes once through the end of a batch without one, which counts a step.
        checkpoint["loops"]["fit_loop"][_LOOP]["_batches_that_stepped"] -= 1


def before_validation(checkpoint: dict[str, Any]) -> None:
    """Correct the loops of a checkpoint that was taken when validation was about to begin.

    Lightning goes back into a validation only if its first batch was begun.
    """
    progress = checkpoint["loops"]["fit_loop"][_VALIDATION]
    progress["current"].update(ready=1, started=1, processed=0, completed=0)
    done = progress["total"]["completed"]
    progress["total"].update(ready=done + 1, started=done + 1, processed=done)


def forget_begun_validation(trainer: pl.Trainer) -> None:
    """Take back the batch that `before_validation` pretended."""
    total = trainer.fit_loop.epoch_loop.val_loop.batch_progress.total
    total.ready -= 1
    total.started -= 1  # type: ignore[attr-defined]


def rescale(checkpoint: dict[str, Any], old: int, new: int) -> None:
    """Count in micro-batches of another size: `old` and `new` are passes per optimizer step."""
    if old == new:
        return
    progress = checkpoint["loops"]["fit_loop"][_BATCHES]
    for counts in (progress["total"], progress["current"]):
        for name, count in counts.items():
            counts[name] = count // old * new


def copy_of(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint whose loops can be corrected without touching the live ones."""
    return {**checkpoint, "loops": copy.deepcopy(checkpoint["loops"])}


def running_means(trainer: pl.Trainer) -> list[dict[str, Any]]:
    """What `self.log(..., on_epoch=True)` has summed up in this epoch, and how it was called."""
    return [
        {
            "how": {
                "fx": metric.meta.fx,
                "name": metric.meta.name,
                "prog_bar": metric.meta.prog_bar,
                "logger": metric.meta.logger,
                "on_step": metric.meta.on_step,
                "on_epoch": metric.meta.on_epoch,
                "reduce_fx": metric.meta.reduce_fx.__name__,
                "enable_graph": metric.meta.enable_graph,
                "add_dataloader_idx": metric.meta.add_dataloader_idx,
                "metric_attribute": metric.meta.metric_attribute,
                "sync_dist": metric.meta.sync.should,
                "rank_zero_only": metric.meta.sync.rank_zero_only,
            },
            "value": metric.value if metric.is_tensor else None,
            "size": getattr(metric, "cumulated_batch_size", None),
        }
        for metric in trainer.fit_loop.epoch_loop._results.values()
        if metric.meta.on_epoch and not metric.has_reset
    ]


def restore_running_means(trainer: pl.Trainer, saved: list[dict[str, Any]]) -> None:
    """Log again what was logged in this epoch, and set the sums to what they were."""
    results = trainer.fit_loop.epoch_loop._results
    if saved:
        # Else the first batch of this life would begin the sums anew.
        trainer._logger_connector._first_loop_iter = False
    module, device = trainer.lightning_module, trainer.strategy.root_device
    for earlier in saved:
        how = earlier["how"]
        value: Any = torch.zeros((), device=device)
        if earlier["value"] is None:
            value = dict(module.named_modules())[how["metric_attribute"]]
        results.log(value=value, sync_dist_fn=trainer.strategy.reduce, batch_size=1, **how)
        if earlier["value"] is None:
            continue
        metric = results[f"{how['fx']}.{how['name']}"]
        metric.value = earlier["value"].to(device)
        if earlier["size"] is not None:
            metric.cumulated_batch_size = earlier["size"].to(device)


def metric_states(module: pl.LightningModule) -> dict[str, dict[str, Any]]:
    """States of the module's torchmetrics, which a state dict leaves out by default."""
    return {
        name: {"values": dict(metric.metric_state), "updates": metric._update_count}
        for name, metric in module.named_modules()
        if isinstance(metric, torchmetrics.Metric) and metric._update_count
    }


def restore_metric_states(module: pl.LightningModule, saved: dict[str, dict[str, Any]]) -> None:
    """Give the module's torchmetrics back what `metric_states` saw."""
    metrics = dict(module.named_modules())
    for name, state in saved.items():
        metric = metrics[name]
        assert isinstance(metric, torchmetrics.Metric)
        for attribute, value in state["values"].items():
            setattr(metric, attribute, _on(metric.device, value))
        metric._update_count = state["updates"]
        metric._computed = None


def _on(device: torch.device, value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(device)
    return [_on(device, item) for item in value] if isinstance(value, list) else value
