"""What runs inside an allocation: frozen config in, honest outcome out.

`Attempt` is pickled by submitit and called once per rank. It writes the attempt's record
(rank 0), runs the task through Hydra, and lets every failure end the process with an error,
so that SLURM, submitit, the record and the log agree.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cloudpickle
from hydra.core.utils import JobReturn
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from launcher import context as run_context
from launcher import files, resolvers, stopping, store, telemetry, watch
from launcher.context import RunContext
from launcher.errors import LauncherError
from launcher.failures import one_line, outcome_of, task_traceback
from launcher.hydra_config import editable
from launcher.memory import peak_memory_gb
from launcher.records import AttemptRecord, Place, SubmissionRecord
from launcher.settings import ProbeConfig, RecoveryConfig
from launcher.stopping import ProbeDone, RunStopped
from launcher.topology import Shape
from launcher.tracking import running as tracking
from launcher.world import World

log = logging.getLogger("launcher.job")

_reported: BaseException | None = None
VERDICT_PATIENCE_S = 90.0
"""How long the other ranks wait for rank 0 to conclude [s]; SLURM ends them sooner."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A run as it is sent to a scheduler: paths, names and numbers only, no secrets."""

    run_dir: str
    key: str
    name: str
    number: int
    """How often the run was sent, this time included."""
    token: str = ""
    """Names the sending; empty where there is none to compare with."""
    payload: str
    """Pickle of the task and Hydra's state, one per study and code version."""
    config: str
    """Pickle of the composed config."""
    shape: Shape
    accelerator: str
    inputs: dict[str, str] = field(default_factory=dict)
    recovery: RecoveryConfig = field(default_factory=RecoveryConfig)
    lead_s: float = 0.0
    """How long before its time limit the scheduler asks it to stop [s]."""
    place: Place = field(default_factory=Place)
    profile: str = ""
    """Folder in which runs that take the same are remembered."""
    probe: ProbeConfig | None = None

    @classmethod
    def of(cls, sent: SubmissionRecord, run_dir: Path) -> Attempt:
        """The attempt that a frozen submission starts."""
        return cls(
            run_dir=str(run_dir),
            key=sent.key,
            name=sent.name,
            number=sent.number,
            token=sent.token,
            payload=sent.payload,
            config=sent.config,
            shape=sent.shape,
            accelerator=sent.accelerator,
            inputs=sent.inputs,
            recovery=RecoveryConfig(**sent.recovery),
            lead_s=sent.parameters.get("signal_delay_s", 0.0),
            place=sent.place,
            profile=sent.profile,
            probe=ProbeConfig(**sent.probe) if sent.probe is not None else None,
        )

    def __call__(self) -> None:
        """Run the task as the rank that this process is; raises whatever the task raised.

        Raises:
            SupersededError: the run was cancelled, or sent again in the meantime.
            RunStopped: it was asked to stop and did.
        """
        sent = self.refuse_if_superseded()
        world = World.of_this_process()
        context = self._context(world)
        _settle_rendezvous(world)
        if self.probe is not None:
            # A task that names its run by an id of its own would write into the real one.
            os.environ["WANDB_MODE"] = "disabled"
        watch.start(context)
        try:
            with telemetry.measuring(context):
                payload, config = self._frozen(sent, world, context)
                run_attempt(payload, config, context, job_id=world.job_id)
        except RunStopped:
            _conclude(context, world)
            raise
        finally:
            watch.stop()

    def _frozen(
        self, sent: SubmissionRecord | None, world: World, context: RunContext
    ) -> tuple[Payload, DictConfig]:
        """The task, and the config with what earlier lives had to change of it."""
        try:
            with open(self.payload, "rb") as file:
                payload: Payload = pickle.load(file)
            with open(self.config, "rb") as file:
                config: DictConfig = pickle.load(file)
        except Exception as error:
            # The task's module raised while it was imported, or is not on this node.
            _fail(context, _begin(context, world.job_id), error)
            raise
        with editable(config):
            config.hydra.job.id = world.job_id
            sweep = config.hydra.sweep
            if Path(sweep.dir, sweep.subdir).resolve() != context.run_dir.resolve():
                # Its study was moved since it was frozen.
                sweep.dir, sweep.subdir = str(context.run_dir.parent), context.run_dir.name
            if sent is not None:
                for key, value in store.adjustments(self.run_dir, sent).config.items():
                    log.warning("%s=%s, because of how an earlier attempt ended", key, value)
                    OmegaConf.update(config, key, value, merge=False)
        return payload, config

    def _context(self, world: World) -> RunContext:
        return RunContext(
            run_dir=Path(self.run_dir),
            key=self.key,
            name=self.name,
            attempt=f"{self.number:03d}-{world.restart:03d}",
            rank=world.rank,
            local_rank=world.local_rank,
            ranks_per_node=self.shape.ranks_per_node,
            num_nodes=self.shape.nodes,
            cpus_per_rank=self.shape.cpus_per_rank,
            accelerator=self.accelerator,
            inputs={name: Path(path) for name, path in self.inputs.items()},
            recovery=self.recovery,
            ends_s=time.time() + world.ends_in_s(self.shape.timeout_min),
            lead_s=self.lead_s,
            place=self.place,
            profile_dir=Path(self.profile) if self.profile else None,
            probe=self.probe,
            mem_gb=self.shape.mem_gb,
        )

    def refuse_if_superseded(self) -> SubmissionRecord | None:
        """The last line against two lives of one run, should two jobs of it ever be queued.

        Returns:
            The run's latest sending.

        Raises:
            SupersededError: the run was cancelled, or sent again in the meantime.
        """
        latest = store.submission(self.run_dir)
        if latest is not None and self.token and latest.token != self.token:
            raise SupersededError(f"run {self.name} was sent again as number {latest.number}")
        cancelled = store.cancelled(self.run_dir)
        if cancelled is not None and cancelled.number == self.number:
            raise SupersededError(f"run {self.name} was cancelled at {cancelled.time}")
        return latest


class SupersededError(RuntimeError):
    """This job must not run: it would touch a folder that is not its own any more."""


def _settle_rendezvous(world: World) -> None:
    """One address and port for all ranks, derived from the job, whatever was inherited."""
    is_alone = len(set(world.hostnames)) == 1
    os.environ["MASTER_ADDR"] = "127.0.0.1" if is_alone else world.hostnames[0]
    os.environ["MASTER_PORT"] = str(world.port)


def _conclude(context: RunContext, world: World) -> None:
    """Rank 0 concludes a life that was asked to stop; the others leave after it.

    A rank that left before would have the others killed, rank 0 among them.
    """
    if world.scheduler != "slurm":
        return  # the controller that started the ranks concludes when all have left
    # A container has no SLURM: the guard concludes, which runs outside of it.
    has_slurm = shutil.which("scontrol") is not None
    if context.rank == 0:
        if has_slurm:
            from launcher.concluding import conclude

            conclude(context.run_dir, context.attempt, by="rank 0")
        return
    until = time.monotonic() + VERDICT_PATIENCE_S
    while time.monotonic() < until and not _is_rank_0_done(context, has_slurm):
        time.sleep(0.1)


def _is_rank_0_done(context: RunContext, has_slurm: bool) -> bool:
    """Whether rank 0 has written the last that it writes: a verdict, or else its record."""
    if has_slurm:
        return store.verdict_path(context.run_dir, context.attempt).exists()
    record = store.find_record(
        store.attempt_path(context.run_dir, context.attempt, 0), AttemptRecord
    )
    return record is not None and record.ended is not None


@dataclass(frozen=True, kw_only=True)
class Payload:
    """What all runs of a study share: the task function and Hydra's singletons."""

    task_function: Any
    singletons: dict[Any, Any] = field(default_factory=dict)
    """Empty in the process that composed the configs."""


def run_attempt(
    payload: Payload, config: DictConfig, context: RunContext, *, job_id: str
) -> JobReturn:
    """Run the task of one rank; raises whatever the task raised, after recording it."""
    from hydra.core.singleton import Singleton
    from hydra.core.utils import setup_globals

    if payload.singletons:
        Singleton.set_state(payload.singletons)
    setup_globals()
    resolvers.register()
    record = _begin(context, job_id)
    run_context.enter(context)
    try:
        returned = _run_hydra_job(payload.task_function, config, context)
        value = returned.return_value  # raises what the task raised
        _keep(context, returned)
        _write(context, record, outcome="completed", result=_plain(value))
        log.info("run %s completed", context.key)
        return returned
    except ProbeDone:
        watch.mark("leaving")
        _write(context, record, outcome="completed")
        log.info("probe %s completed", context.key)
        return JobReturn()
    except RunStopped as stopped:
        watch.mark("leaving")
        request = stopping.requested()
        name = request.signal if request else None
        log.info("run %s stopped after %s, as it was asked to", context.key, name)
        _write(context, record, stop_signal=name, saved_step=stopped.step)
        _mark_preempting()
        raise
    except BaseException as error:
        watch.give_way()
        _fail(context, record, error)
        if isinstance(error, SystemExit):
            # A task that calls sys.exit(0) half-way would look completed to SLURM.
            raise RuntimeError(f"the task called sys.exit({error.code!r})") from error
        raise
    finally:
        # Once the record says how this life ended.
        tracking.finish(is_stopping=stopping.requested() is not None)
        run_context.enter(None)


def _begin(context: RunContext, job_id: str) -> AttemptRecord:
    """The record of a life that has begun."""
    record = context.record(job_id)
    _write(context, record)
    return record


def _fail(context: RunContext, record: AttemptRecord, error: BaseException) -> None:
    """Record how a life failed, and let its traceback be the last thing in the log."""
    global _reported
    is_interrupted = isinstance(error, KeyboardInterrupt)
    trace = task_traceback(error)
    # What the user did wrong is one message; where it was raised does not help them. It is said
    # before it is recorded, for a disk that is full.
    shown = str(error) if isinstance(error, LauncherError) else trace.rstrip()
    log.error("run %s failed (rank %d)\n%s", context.key, context.rank, shown)
    _reported = error
    request = stopping.requested()
    _write(
        context,
        record,
        outcome="cancelled" if is_interrupted else outcome_of(error, context.world_size),
        error=one_line(error),
        traceback=trace,
        stop_signal=request.signal if request else None,
    )


def was_reported(error: BaseException) -> bool:
    """Whether the log has the error already, or the one that it was raised from."""
    return _reported is not None and _reported in (error, error.__cause__)


def _mark_preempting() -> None:
    """Tell Weights & Biases, where the task uses it, that this run will go on."""
    wandb = sys.modules.get("wandb")
    if wandb is not None and wandb.run is not None:
        wandb.run.mark_preempting()


def _run_hydra_job(task: Any, config: DictConfig, context: RunContext) -> JobReturn:
    from hydra._internal.callbacks import Callbacks
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
    from hydra.core.utils import run_job
    from hydra.types import HydraContext

    if context.rank:
        # One writer per file: rank 0 keeps Hydra's names.
        with editable(config):
            config.hydra.job.name = f"{config.hydra.job.name}.rank{context.rank}"
            config.hydra.output_subdir = None
    return run_job(
        task_function=task,
        config=config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
        hydra_context=HydraContext(
            config_loader=ConfigLoaderImpl(ConfigSearchPathImpl()), callbacks=Callbacks(config)
        ),
    )


def _keep(context: RunContext, returned: JobReturn) -> None:
    """Keep what Hydra promises its sweepers, for a launcher that waits."""
    if context.rank:
        return
    try:
        content = cloudpickle.dumps(returned)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        log.warning("what the task returned cannot be kept for a sweeper: %s", error)
        return
    files.write_bytes(store.returned_path(context.run_dir, context.attempt), content)


def _write(context: RunContext, record: AttemptRecord, **ended: Any) -> None:
    """Rank 0 keeps the record; another rank writes only how it ended, into its own file."""
    if context.rank and ended.get("outcome") is None:
        return
    if ended:
        # Callbacks noted in the meantime which step was resumed, and which was saved.
        noted = {**run_context.notes(), **{k: v for k, v in ended.items() if v is not None}}
        moment = {"ended": files.now(), "mem_peak_gb": peak_memory_gb()}
        record = record.model_copy(update={**moment, **noted})
        telemetry.note(outcome=record.outcome)
        if record.outcome is not None:  # who is asked to stop is short of time
            telemetry.settle()
    store.write_record(store.attempt_path(context.run_dir, context.attempt, context.rank), record)


def _plain(value: Any) -> Any:
    """The task's return value where JSON can hold it, else None."""
    if OmegaConf.is_config(value):
        try:
            value = OmegaConf.to_container(value, resolve=True)
        except OmegaConfBaseException:  # e.g. ${hydra:...}, which means something only in the task
            value = OmegaConf.to_container(value, resolve=False)
    try:
        return json.loads(json.dumps(value, default=float))
    except (TypeError, ValueError):
        return None
