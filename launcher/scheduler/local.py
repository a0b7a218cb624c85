"""Runs on this machine through submitit, as many at once as cores, memory and GPUs allow."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from launcher import store
from launcher.errors import SubmissionError
from launcher.job import Attempt
from launcher.records import SubmissionRecord
from launcher.scheduler.base import Job, JobStatus, environment
from launcher.states import NO_OUTCOME
from launcher.topology import Shape

INTERRUPT_GRACE_S = 5.0
"""How long an interrupted run may take to end [s]."""
DEFAULT_MEM_GB = 2.0
"""Taken for a run that does not say how much memory it needs."""


@dataclass(kw_only=True)
class Capacity:
    """What is free on this machine."""

    cpus: float
    mem_gb: float
    gpus: list[int]

    @classmethod
    def of_this_machine(cls) -> Capacity:
        """Cores this process may use, memory that is free now, GPUs that are visible."""
        return cls(
            cpus=len(os.sched_getaffinity(0)),
            mem_gb=psutil.virtual_memory().available / 2**30,
            gpus=_visible_gpus(),
        )

    def holds(self, shape: Shape) -> bool:
        """Whether an attempt of that shape fits into what is free."""
        return (
            shape.cpus <= self.cpus
            and _mem_gb(shape) <= self.mem_gb
            and shape.gpus_per_node <= len(self.gpus)
        )

    def take(self, shape: Shape) -> list[int]:
        """Reserve a shape; returns the GPUs that it gets."""
        gpus, self.gpus = self.gpus[: shape.gpus_per_node], self.gpus[shape.gpus_per_node :]
        self.cpus -= shape.cpus
        self.mem_gb -= _mem_gb(shape)
        return gpus

    def give_back(self, shape: Shape, gpus: list[int]) -> None:
        """Free what `take` reserved."""
        self.cpus += shape.cpus
        self.mem_gb += _mem_gb(shape)
        self.gpus += gpus


def _mem_gb(shape: Shape) -> float:
    return shape.mem_gb or DEFAULT_MEM_GB


def _visible_gpus() -> list[int]:
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        return [int(part) for part in listed.split(",") if part.strip().isdigit()]
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []  # no NVIDIA driver, hence no GPUs
    return list(range(pynvml.nvmlDeviceGetCount()))


@dataclass(frozen=True, kw_only=True)
class _Queued:
    run_dir: Path
    sent: SubmissionRecord


@dataclass(frozen=True, kw_only=True)
class _Running:
    queued: _Queued
    handle: Any
    gpus: list[int]


@dataclass(kw_only=True)
class LocalScheduler:
    """A pool of submitit's local jobs. Jobs start from `poll`, which the follower calls."""

    folder: Path
    capacity: Capacity = field(default_factory=Capacity.of_this_machine)
    max_parallel: int | None = None
    _queued: list[_Queued] = field(default_factory=list)
    _running: dict[str, _Running] = field(default_factory=dict)
    _ended: dict[str, JobStatus] = field(default_factory=dict)
    _watched: dict[str, str] = field(default_factory=dict)

    def check(self, jobs: Sequence[Job]) -> None:
        """Refuse jobs that this machine can never hold, even when it is idle."""
        for job in jobs:
            shape = job.shape
            if shape.nodes > 1:
                raise SubmissionError(
                    f"the local launcher has one node, `{job.name}` asks for {shape.nodes}",
                    hint="use hydra/launcher=slurm, or resources.nodes=1",
                )
            if not self.capacity.holds(shape):
                free = self.capacity
                raise SubmissionError(
                    f"`{job.name}` asks for {shape.cpus} CPUs, {_mem_gb(shape):g} GB and"
                    f" {shape.gpus_per_node} GPUs; this machine has {free.cpus:g} CPUs,"
                    f" {free.mem_gb:.1f} GB free and {len(free.gpus)} GPUs",
                    hint="lower resources.*, or use hydra/launcher=slurm",
                )

    def groups(self, jobs: Sequence[Job]) -> list[list[Job]]:
        """Local runs start one by one."""
        return [[job] for job in jobs]

    def enqueue(self, frozen: Sequence[tuple[Path, SubmissionRecord]]) -> None:
        """Queue frozen runs; they start as slots become free and what they wait for completes."""
        self._queued += [_Queued(run_dir=run_dir, sent=sent) for run_dir, sent in frozen]

    def owns(self, sent: SubmissionRecord) -> bool:
        """Whether it is a process, of this machine or another."""
        return sent.scheduler == "local"

    def watch(self, key: str, job_id: str) -> None:
        """Follow a process that another launcher started."""
        if key not in self._running and key not in self._ended:
            self._watched[key] = job_id

    def forget(self, key: str) -> None:
        """Drop what is known of a run that will be started again."""
        self._watched.pop(key, None)
        self._ended.pop(key, None)

    def poll(self) -> dict[str, JobStatus]:
        """Collect what ended, start what fits, and say how all jobs are."""
        self._collect()
        self._start()
        statuses = {key: _process_status(job_id) for key, job_id in self._watched.items()}
        statuses.update(self._ended)
        statuses.update({key: JobStatus(state="running") for key in self._running})
        for queued in self._queued:
            blocked = any(not self._is_done(key) for key in queued.sent.after)
            statuses[queued.sent.key] = JobStatus(state="waiting" if blocked else "pending")
        return statuses

    def cancel(self, job_ids: Sequence[str]) -> None:
        """End processes of this machine."""
        _end([i for i in job_ids if _process_status(i).state == "running"])

    def interrupted(self) -> str:
        """Local runs end with the command that started them."""
        self._queued.clear()
        _end([f"{socket.gethostname()}/-/{r.handle.job_id}" for r in self._running.values()])
        return "interrupted: the local runs were stopped; the same command starts them again"

    def _collect(self) -> None:
        for key, running in list(self._running.items()):
            if not running.handle.done():
                continue
            del self._running[key]
            self.capacity.give_back(running.queued.sent.shape, running.gpus)
            succeeded = _succeeded(running.handle)
            self._ended[key] = JobStatus(state="ended", reason="" if succeeded else NO_OUTCOME)

    def _start(self) -> None:
        for queued in list(self._queued):
            sent = queued.sent
            failed = [key for key in sent.after if self._has_failed(key)]
            cancelled = store.cancelled(queued.run_dir)
            if cancelled is not None and cancelled.number == sent.number:
                self._drop(queued, "cancelled")
            elif failed:
                self._drop(queued, f"required run {failed[0]} failed")
            elif all(self._is_done(key) for key in sent.after) and self._has_room(sent.shape):
                self._queued.remove(queued)
                self._launch(queued)

    def _drop(self, queued: _Queued, reason: str) -> None:
        self._queued.remove(queued)
        self._ended[queued.sent.key] = JobStatus(state="ended", reason=reason)

    def _has_room(self, shape: Shape) -> bool:
        if self.max_parallel is not None and len(self._running) >= self.max_parallel:
            return False
        return self.capacity.holds(shape)

    def _is_done(self, key: str) -> bool:
        if key in self._watched:
            return _process_status(self._watched[key]).state == "ended"
        status = self._ended.get(key)
        return status is not None and not status.reason

    def _has_failed(self, key: str) -> bool:
        status = self._ended.get(key)
        return status is not None and bool(status.reason)

    def _launch(self, queued: _Queued) -> None:
        import submitit

        sent = queued.sent
        gpus = self.capacity.take(sent.shape)
        # A process id may come back, and with it the files of an old job: one folder per job.
        executor = submitit.LocalExecutor(self.folder / f"local-{uuid.uuid4().hex[:8]}")
        executor.update_parameters(
            timeout_min=sent.shape.timeout_min,
            tasks_per_node=sent.shape.ranks_per_node,
            gpus_per_node=sent.shape.gpus_per_node,
            visible_gpus=gpus,
            signal_delay_s=sent.parameters["signal_delay_s"],
            stderr_to_stdout=sent.parameters["stderr_to_stdout"],
        )
        with submitit.helpers.clean_env(), environment(**_job_environment(sent)):
            handle = executor.submit(Attempt.of(sent, queued.run_dir))
        self._running[sent.key] = _Running(queued=queued, handle=handle, gpus=gpus)
        job_id = f"{socket.gethostname()}/{executor.folder.name}/{handle.job_id}"
        store.write_submission(queued.run_dir, sent.model_copy(update={"job_id": job_id}))


def _end(job_ids: Sequence[str]) -> None:
    """Interrupt processes with all their children, and kill what goes on.

    Below `nohup ... &` of a script SIGINT is ignored, and by all that is started there.
    """
    processes: list[psutil.Process] = []
    for job_id in job_ids:
        with contextlib.suppress(psutil.NoSuchProcess):
            controller = psutil.Process(int(job_id.rpartition("/")[2]))
            processes += [controller, *controller.children(recursive=True)]
            controller.send_signal(signal.SIGINT)
    _, alive = psutil.wait_procs(processes, timeout=INTERRUPT_GRACE_S)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def _job_environment(sent: SubmissionRecord) -> dict[str, str]:
    inherited = os.environ.get("PYTHONPATH")
    path = [*sent.python_path, *([inherited] if inherited else [])]
    threads = str(sent.shape.cpus_per_rank)
    return {
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONSAFEPATH": "1",
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
    }


def _succeeded(handle: Any) -> bool:
    """Whether every rank said so; a rank that vanished left no result."""
    paths = [handle.task(rank).paths.result_pickle for rank in range(handle.num_tasks)]
    if not all(path.exists() for path in paths):
        return False
    return all(handle.task(rank).exception() is None for rank in range(handle.num_tasks))


def _process_status(job_id: str) -> JobStatus:
    """Of a job that another launcher started; a process id may since belong to somebody else."""
    host, _, process = job_id.partition("/")
    if process and host != socket.gethostname():
        return JobStatus(state="unknown", reason=f"it runs on {host}; ask there")
    try:
        command = psutil.Process(int(job_id.rpartition("/")[2])).cmdline()
    except psutil.Error:
        return JobStatus(state="ended")
    alive = any("submitit.local._local" in word for word in command)
    return JobStatus(state="running" if alive else "ended")
