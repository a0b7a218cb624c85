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
import socket
import traceback
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cloudpickle
from hydra.core.utils import JobReturn
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from launcher import context as run_context
from launcher import files, resolvers, store
from launcher.context import RunContext
from launcher.hydra_config import editable
from launcher.memory import peak_memory_gb
from launcher.records import AttemptRecord, SubmissionRecord
from launcher.topology import Shape

log = logging.getLogger("launcher.job")


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
        )

    def __call__(self) -> None:
        """Run the task as the rank that submitit says this process is.

        Raises:
            SupersededError: the run was cancelled, or sent again in the meantime.
        """
        import submitit

        world = submitit.JobEnvironment()
        self._refuse_if_superseded()
        restart = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
        context = RunContext(
            run_dir=Path(self.run_dir),
            key=self.key,
            name=self.name,
            attempt=f"{self.number:03d}-{restart:03d}",
            rank=world.global_rank,
            local_rank=world.local_rank,
            ranks_per_node=self.shape.ranks_per_node,
            num_nodes=self.shape.nodes,
            cpus_per_rank=self.shape.cpus_per_rank,
            accelerator=self.accelerator,
            inputs={name: Path(path) for name, path in self.inputs.items()},
        )
        _settle_rendezvous(world)
        with open(self.payload, "rb") as file:
            payload: Payload = pickle.load(file)
        with open(self.config, "rb") as file:
            config: DictConfig = pickle.load(file)
        with editable(config):
            config.hydra.job.id = world.job_id
        run_attempt(payload, config, context, job_id=world.job_id)

    def _refuse_if_superseded(self) -> None:
        """The last line against two lives of one run, should two jobs of it ever be queued."""
        latest = store.submission(self.run_dir)
        if latest is not None and self.token and latest.token != self.token:
            raise SupersededError(f"run {self.name} was sent again as number {latest.number}")
        cancelled = store.cancelled(self.run_dir)
        if cancelled is not None and cancelled.number == self.number:
            raise SupersededError(f"run {self.name} was cancelled at {cancelled.time}")


class SupersededError(RuntimeError):
    """This job must not run: it would touch a folder that is not its own any more."""


def _settle_rendezvous(world: Any) -> None:
    """One address and port for all ranks, derived from the job, whatever was inherited."""
    os.environ["MASTER_ADDR"] = world.hostnames[0] if world.num_nodes > 1 else "127.0.0.1"
    os.environ["MASTER_PORT"] = str(20000 + zlib.crc32(str(world.job_id).encode()) % 12000)


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
    record = AttemptRecord(
        attempt=context.attempt,
        key=context.key,
        job_id=job_id,
        host=socket.gethostname(),
        pid=os.getpid(),
        world_size=context.world_size,
        started=files.now(),
    )
    _write(context, record)
    run_context.enter(context)
    # submitit's last words would follow the traceback into the run's own log.
    logging.getLogger("submitit").propagate = False
    try:
        returned = _run_hydra_job(payload.task_function, config, context)
        value = returned.return_value  # raises what the task raised
        _keep(context, returned)
        _write(context, record, outcome="completed", result=_plain(value))
        log.info("run %s completed", context.key)
        return returned
    except BaseException as error:
        outcome = "cancelled" if isinstance(error, KeyboardInterrupt) else "task_error"
        trace = _task_traceback(error)
        summary = _one_line(error)
        _write(context, record, outcome=outcome, error=summary, traceback=trace)
        log.error("run %s failed (rank %d)\n%s", context.key, context.rank, trace.rstrip())
        if isinstance(error, SystemExit):
            # A task that calls sys.exit(0) half-way would look completed to SLURM.
            raise RuntimeError(f"the task called sys.exit({error.code!r})") from error
        raise
    finally:
        run_context.enter(None)


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
    """Rank 0 keeps the record; another rank writes only its own failure, into its own file."""
    if context.rank and ended.get("outcome") != "task_error":
        return
    if ended:
        peak = peak_memory_gb()
        record = record.model_copy(update={"ended": files.now(), "mem_peak_gb": peak, **ended})
    store.write_record(store.attempt_path(context.run_dir, context.attempt, context.rank), record)


def _one_line(error: BaseException) -> str:
    """An exception in one line; the whole of it stands in the traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    message = lines[0] if len(lines) == 1 else f"{lines[0]} ... {lines[-1]}"
    return f"{type(error).__name__}: {message}"


def _task_traceback(error: BaseException) -> str:
    """The traceback without our own frames and Hydra's: it starts in the task."""
    trace = error.__traceback__
    step = trace
    while step is not None:
        if step.tb_frame.f_code.co_name == "run_job" and step.tb_next is not None:
            trace = step.tb_next
        step = step.tb_next
    return "".join(traceback.format_exception(type(error), error, trace))


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
