"""Save and stop where all of a step is done, and go on from there in the next life.

A safe point lies between two training batches, after an optimizer step: every hook of the batch
has run and is logged, the next batch is not drawn. There all ranks agree whether to stop or to
save. Validation may last long, so its beginning is a safe point as well.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Literal

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities.model_helpers import is_overridden
from pytorch_lightning.utilities.signature_utils import is_param_in_hook_signature

from launcher import context as run_context
from launcher import stopping, watch
from launcher.callbacks import buckets, loop_state, plain, rng, rows
from launcher.callbacks.agreement import ASK_EVERY_S, Agreement, Wishes
from launcher.callbacks.loaders import Position, ResumableLoader, WatchedLoader, set_epoch
from launcher.callbacks.resume_files import Manifest, ResumeFiles
from launcher.callbacks.writer import Writer
from launcher.context import RunContext
from launcher.errors import LauncherError
from launcher.settings import RecoveryConfig
from launcher.stopping import RunStopped

log = logging.getLogger("launcher.checkpoints")
OURS = "launcher"
"""Entry of a checkpoint with what Lightning does not save."""
FIRST_SAVE_S = 60.0
"""Training time before the first periodic checkpoint; the next follow at growing distances [s]."""
LEAVE_S = 10.0
"""Time to requeue and to leave after the last checkpoint [s]."""
_TELLS_RANKS = "_broadcast_sigterm_tensor"
"""Lightning's way to tell all ranks of a signal, called in each batch."""
_HYPER_PARAMETERS = [
    prefix + name
    for prefix in ("", "datamodule_")
    for name in ("hyper_parameters", "hparams_name", "hparams_type")
]
"""Entries that build a model, which the task does by itself; they may hold anything."""
Place = Literal["between batches", "before validation", "end"]


class SafePoints(pl.Callback):
    """Resumes a training, saves it now and then, and stops it when the scheduler asks."""

    def __init__(self, context: RunContext, recovery: RecoveryConfig) -> None:
        self._context = context
        self._recovery = recovery
        self._files: ResumeFiles | None = None
        self._trainer: pl.Trainer | None = None
        self._loader: ResumableLoader | None = None
        self._agreement: Agreement | None = None
        self._loaded: dict[str, Any] | None = None
        self._place: Place = "between batches"
        self._restore_at_validation: dict[str, Any] | None = None
        self._end: dict[str, Any] | None = None
        self._held: tuple[int, dict[str, Any]] | None = None
        self._arrivals: buckets.Arrivals | None = None
        self._arrival_order: list[int] | None = None
        """Of gradients, in the first life of this training; None where it does not matter."""
        self._writer = Writer()
        self._saved_s = self._began_s = time.monotonic()
        self._is_warned = False
        self._batches = 0
        """Training batches of this life."""
        self._seen_step = 0

    # ---- the beginning of a life ------------------------------------------------------------

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Find what to resume, before Lightning looks for it."""
        if stage != "fit":
            return
        self._trainer = trainer
        self._arrivals = self._arrival_order = None
        number = run_context.count("fit")
        if not _is_supported(trainer, pl_module):
            return
        self._files = ResumeFiles(
            folder=self._context.run_dir / "checkpoints" / "resume" / f"fit-{number:02d}",
            key=self._context.key,
            attempt=self._context.attempt,
            keep=self._recovery.keep_checkpoints,
        )
        manifest = self._find(trainer)
        if manifest is not None:
            self._resume(trainer, pl_module, manifest)
        self._watch_loaders(trainer)

    def _find(self, trainer: pl.Trainer) -> Manifest | None:
        """The checkpoint that rank 0 chose, so that all ranks read the same one."""
        assert self._files is not None
        found: list[Any] = [self._files.find() if trainer.is_global_zero else None]
        if trainer.world_size > 1:
            dist.broadcast_object_list(found, src=0)
        manifest: Manifest | None = found[0]
        return manifest

    def _resume(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, manifest: Manifest
    ) -> None:
        assert self._files is not None
        checkpoint = self._files.load(manifest)
        _refuse_other_shapes(pl_module, checkpoint["state_dict"], self._files.path(manifest.step))
        ours = checkpoint.pop(OURS)
        accumulation = trainer.accumulate_grad_batches
        loop_state.rescale(checkpoint, manifest.accumulation, accumulation)
        if (manifest.world_size, manifest.accumulation) != (trainer.world_size, accumulation):
            log.warning(
                "it was saved by %d ranks with %d passes per step, these are %d with %d: the"
                " batches stay the same, the last bits of the result do not",
                manifest.world_size,
                manifest.accumulation,
                trainer.world_size,
                accumulation,
            )
        ranks = ours["ranks"]
        mine = ranks[trainer.global_rank] if len(ranks) == trainer.world_size else {}
        self._loaded, self._place = mine, ours["place"]
        self._arrival_order = ours.get("arrival_order")
        self._writer.saved_step = self._seen_step = manifest.step
        # Lightning would go on after an early stop, which it does not save.
        trainer.should_stop = manifest.completed
        self._end = ours if manifest.completed else None
        run_context.note(resumed_step=manifest.step, saved_step=manifest.step)
        log.info("goes on at step %d, which attempt %s saved", manifest.step, manifest.attempt)
        connector = trainer._checkpoint_connector

        def resume_start(*_: Any, **__: Any) -> None:
            # What the task itself wants to load was loaded in its first life.
            connector._ckpt_path = str(self._files.path(manifest.step)) if self._files else None
            connector._loaded_checkpoint = checkpoint

        connector.resume_start = resume_start  # type: ignore[method-assign]

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Give Lightning its own way of loading back, for later calls of the same Trainer."""
        vars(trainer._checkpoint_connector).pop("resume_start", None)

    def _watch_loaders(self, trainer: pl.Trainer) -> None:
        """Stand between the loops and their dataloaders, through the hook that strategies have."""
        original: Callable[[Any], Any] = trainer.strategy.process_dataloader

        def process(loader: Any) -> Any:
            loader = original(loader)
            if trainer.training:
                return self._resumable(loader)
            is_fit = trainer.state.fn == TrainerFn.FITTING
            return WatchedLoader(loader, self._validation_begins) if is_fit else loader

        vars(trainer.strategy)["process_dataloader"] = process

    def _resumable(self, loader: Any) -> ResumableLoader:
        is_first = self._loader is None or self._batches > 0
        # Of several training dataloaders only the first marks the place between two batches.
        wrapped = ResumableLoader(loader, self._between_batches if is_first else _nothing)
        if is_first:
            self._loader = wrapped
        if self._loaded is None:
            return wrapped
        assert self._trainer is not None
        # The epoch that is being trained is not completed, whatever the place in it.
        set_epoch(loader, self._trainer.fit_loop.epoch_progress.current.completed)
        done = self._trainer.fit_loop.epoch_loop.batch_progress.current.completed
        is_exact = is_first and bool(self._loaded)
        if not is_exact:
            log.warning("the order of a training dataloader cannot be restored exactly")
        between = is_exact and self._place == "between batches"
        wrapped.resume(
            Position(
                at_start=self._loaded["at_start"] if is_exact else {},
                at_first=self._loaded["at_first"] if is_exact else {},
                batches=0 if hasattr(loader, "load_state_dict") else done,
                after=self._loaded["now"] if between else None,
            )
        )
        return wrapped

    def on_sanity_check_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the signals back from Lightning, whose handler calls a collective."""
        self._take_signals(trainer)

    def _take_signals(self, trainer: pl.Trainer) -> None:
        stopping.install()
        # Lightning would go on telling all ranks of each batch that it has seen no signal, and
        # wait until each GPU has done all that it was given.
        setattr(trainer.fit_loop.epoch_loop, _TELLS_RANKS, _nothing)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the signals back, settle what a restart would settle differently."""
        self._take_signals(trainer)
        watch.mark("training", trainer.global_step)
        if self._files is None:
            return
        self._lay_out_gradients(trainer, pl_module)
        self._agreement = Agreement(trainer.world_size, trainer.strategy.root_device)
        self._saved_s = self._began_s = time.monotonic()
        self._seen_step = trainer.global_step
        if self._loaded is None:
            self._state(trainer, "between batches")  # fails now rather than after an hour
        elif self._loaded:
            loop_state.restore_metric_states(pl_module, self._loaded["metrics"])
            loop_state.restore_running_means(trainer, self._loaded["means"])
            if self._place == "before validation":
                self._restore_at_validation = self._loaded["now"]
        self._loaded = None

    def _lay_out_gradients(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """As the first life does by itself; where a pass may not reach all, both are told."""
        if self._loaded is not None or not pl_module.automatic_optimization:
            buckets.settle(trainer.strategy.model, self._arrival_order)
        else:
            self._arrivals = buckets.Arrivals(trainer.strategy.model)

    # ---- between two batches ----------------------------------------------------------------

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Note a sign of life."""
        self._batches += 1
        watch.mark("training", trainer.global_step)
        if self._arrivals is not None and trainer.global_step > self._seen_step:
            self._arrival_order, self._arrivals = self._arrivals.take(), None

    def _between_batches(self) -> None:
        """Called before a training batch is drawn."""
        trainer, agreement = self._trainer, self._agreement
        every = self._recovery.checkpoint_every_steps
        if trainer is None or agreement is None or not self._batches:
            return
        is_due = agreement.is_due()  # on all ranks with the same batch
        if not is_due and every is None:
            return
        step = trainer.global_step
        if step == self._seen_step or trainer.fit_loop._should_accumulate():
            return
        is_exact = every is not None and step % every == 0
        if not (is_due or is_exact):
            return
        self._seen_step = step
        self._ask_to_stop_in_time()
        stop = stopping.requested() is not None
        wishes = Wishes(stop=stop, save=self._is_save_due(step))
        agreed = agreement.reach(wishes, at_once=is_exact)
        if agreed is None:
            return
        if agreed.stop:
            self._stop(step)
        elif agreed.save:
            self._save(step)

    def _is_save_due(self, step: int) -> bool:
        every = self._recovery.checkpoint_every_steps
        since = step - (self._writer.saved_step or 0)
        now = time.monotonic()
        # Often at first: most lives that end early end soon, and must not end with nothing.
        interval_s = max(FIRST_SAVE_S, (now - self._began_s) / 2)
        interval_s = min(interval_s, self._recovery.checkpoint_every_min * 60)
        is_old = now - self._saved_s >= interval_s
        return (is_old or (every is not None and since >= every)) and since > 0

    def _ask_to_stop_in_time(self) -> None:
        """Stop by ourselves where the signal's lead is too short for what is left to do."""
        ends_s, lead_s = self._context.ends_s, self._context.lead_s
        if ends_s is None or stopping.requested() is not None or self._agreement is None:
            return
        assert self._trainer is not None
        step_s = self._agreement.batch_s * self._trainer.accumulate_grad_batches
        needed_s = 2 * (step_s + self._writer.takes_s) + ASK_EVERY_S + LEAVE_S
        # The first steps may compile, and say nothing about the others.
        needed_s = min(needed_s, (ends_s - self._context.began_s) / 2)
        if needed_s <= lead_s:
            return
        if not self._is_warned:
            self._is_warned = True
            log.warning(
                "the scheduler announces the end %.0f s before, but a step takes %.1f s and a"
                " checkpoint %.1f s: training stops %.0f s before instead; raise"
                " hydra.launcher.signal_delay_s",
                lead_s,
                step_s,
                self._writer.takes_s,
                needed_s,
            )
        if time.time() > ends_s - needed_s:
            stopping.request("TIME")

    def _stop(self, step: int) -> None:
        """All ranks save together and leave together."""
        assert self._trainer is not None
        watch.mark("saving", step)
        self._save(step, wait=True)
        if self._trainer.world_size > 1:
            dist.barrier()  # a rank that left would have the others killed while rank 0 writes
        self._writer.raise_if_refused()
        raise RunStopped(self._writer.saved_step)

    @property
    def save_takes_s(self) -> float:
        """Longest time that a checkpoint took to be on disk so far [s]; 0 before the first."""
        return self._writer.takes_s

    def save_now(self) -> None:
        """Save, and return when it is on disk; nothing where such a training cannot be saved."""
        if self._agreement is not None and self._trainer is not None:
            self._save(self._trainer.global_step, wait=True)

    def _save(self, step: int, *, wait: bool = False) -> None:
        """Copy the state now; write it now, or beside the training that goes on."""
        trainer = self._trainer
        assert trainer is not None
        self._writer.join()
        state = self._state(trainer, "between batches")
        rows.write_all(trainer)  # what a later life logs begins after this step
        if trainer.is_global_zero:
            self._write(step, state)
        else:
            self._writer.saved_step = step
        if wait:
            self._writer.join()
        self._saved_s = time.monotonic()

    def _state(self, trainer: pl.Trainer, place: Place) -> dict[str, Any]:
        """Everything that a later life needs, on the CPU; ranks above 0 only contribute."""
        assert self._loader is not None
        mine = plain.encode(
            {
                "now": self._loader.generators(),
                "at_start": self._loader.at_start,
                "at_first": self._loader.at_first,
                "means": loop_state.running_means(trainer),
                "metrics": loop_state.metric_states(trainer.lightning_module),
            }
        )
        ranks: list[Any] = [mine]
        if trainer.world_size > 1:
            ranks = [None] * trainer.world_size
            dist.all_gather_object(ranks, mine)
        checkpoint = loop_state.copy_of(trainer._checkpoint_connector.dump_checkpoint(False))
        if place == "before validation":
            loop_state.before_validation(checkpoint)
        elif place == "between batches":
            loop_state.between_batches(trainer, checkpoint)
        for name in _HYPER_PARAMETERS:
            checkpoint.pop(name, None)
        metrics = dict(trainer.callback_metrics) if place == "end" else {}
        checkpoint[OURS] = {
            "ranks": ranks,
            "place": place,
            "metrics": metrics,
            "arrival_order": self._arrival_order,
        }
        if not trainer.is_global_zero:
            return {}
        encoded: dict[str, Any] = plain.encode(checkpoint)
        return encoded

    def _write(self, step: int, state: dict[str, Any], *, completed: bool = False) -> None:
        assert self._files is not None
        assert self._trainer is not None
        self._writer.write(
            self._files,
            state,
            step=step,
            world_size=self._trainer.world_size,
            accumulation=self._trainer.accumulate_grad_batches,
            completed=completed,
        )

    # ---- validation -------------------------------------------------------------------------

    def _validation_begins(self) -> None:
        """Hold the state that a stop during validation would save."""
        trainer = self._trainer
        if trainer is None or trainer.sanity_checking or self._agreement is None:
            return
        if self._restore_at_validation is not None:
            assert self._loader is not None
            self._loader.set_generators(self._restore_at_validation)
            self._restore_at_validation = None
            loop_state.forget_begun_validation(trainer)
        if self._held is None and not trainer.fit_loop._should_accumulate():
            step = trainer.global_step
            self._held = (step, self._state(trainer, "before validation"))

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the signals ours."""
        watch.mark("validation", trainer.global_step)

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Leave a validation when asked to; rank 0 decides, as it has what must be saved."""
        watch.mark("validation", trainer.global_step)
        if trainer.sanity_checking or stopping.requested() is None:
            return
        if not trainer.fit_loop._data_fetcher or self._files is None:
            raise RunStopped(self._writer.saved_step)  # a validation outside of a training
        if self._held is None:
            return
        step, state = self._held
        if trainer.is_global_zero:
            watch.mark("saving", step)
            self._writer.join()
            if step != self._writer.saved_step:
                rows.write_all(trainer)
                self._write(step, state)
                self._writer.join()
            self._writer.raise_if_refused()
            raise RunStopped(self._writer.saved_step)
        if Manifest.read(self._files.path(step).with_suffix(".json")) is not None:
            raise RunStopped(step)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The next safe point lies behind the validation."""
        self._held = None

    def on_test_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """Leave a test when asked to; it begins anew in the next life."""
        watch.mark("testing")
        self._context.raise_if_stopping()

    def on_predict_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """Leave a prediction when asked to; it begins anew in the next life."""
        watch.mark("predicting")
        self._context.raise_if_stopping()

    # ---- the end ----------------------------------------------------------------------------

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the end, so that a later life does not repeat the last steps."""
        if self._agreement is None:
            return
        step = trainer.global_step
        watch.mark("saving", step)
        self._writer.join()
        state = self._state(trainer, "end")
        if trainer.is_global_zero:
            self._write(step, state, completed=True)
            self._writer.join()
            self._writer.raise_if_refused()
        self._agreement = None

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Leave the Trainer as it was."""
        watch.mark("evaluating")
        _give_back(trainer)
        self._writer.join()
        if self._end is not None and stage == "fit":
            # Training had ended and was passed over: what follows it finds what it left.
            end, self._end = self._end, None
            trainer._logger_connector._callback_metrics.update(end["metrics"])
            if len(end["ranks"]) == trainer.world_size:
                rng.restore(end["ranks"][trainer.global_rank]["now"]["process"])
        if stage == "fit":
            self._loader = self._held = self._loaded = None

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """A checkpoint that is being written is finished first."""
        vars(trainer._checkpoint_connector).pop("resume_start", None)
        _give_back(trainer)
        self._writer.join()


def _nothing() -> None:
    """Stands in for what is not to be done."""


def _give_back(trainer: pl.Trainer) -> None:
    """Let the Trainer do again what was done in its place."""
    vars(trainer.strategy).pop("process_dataloader", None)
    trainer.fit_loop.epoch_loop.__dict__.pop(_TELLS_RANKS, None)


def _is_supported(trainer: pl.Trainer, pl_module: pl.LightningModule) -> bool:
    """Whether this kind of training can be resumed; said where it cannot."""
    strategy = type(trainer.strategy)
    if not isinstance(trainer.strategy, (SingleDeviceStrategy, DDPStrategy)):
        log.warning("strategy %s: its state is sharded, no resume checkpoints", strategy.__name__)
        return False
    if is_overridden("training_step", pl_module) and is_param_in_hook_signature(
        pl_module.training_step, "dataloader_iter", explicit=True
    ):
        log.warning("training_step draws its own batches: no resume checkpoints")
        return False
    return True


def _refuse_other_shapes(
    pl_module: pl.LightningModule, saved: dict[str, torch.Tensor], path: Any
) -> None:
    own = pl_module.state_dict()
    for name, value in saved.items():
        if name in own and own[name].shape != value.shape:
            raise LauncherError(
                f"`{path}` holds `{name}` of shape {tuple(value.shape)}, the model's is"
                f" {tuple(own[name].shape)}",
                hint="the code of the model changed under the same run key; force=true begins anew"
                " after you delete the folder, or undo the change",
            )
