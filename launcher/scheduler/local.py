"""Runs on this machine through submitit, as many at once as cores, memory and GPUs allow."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from launcher.errors import SubmissionError
from launcher.scheduler.base import Job, JobStatus, environment

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

    def holds(self, job: Job) -> bool:
        """Whether the job fits into what is free."""
        need = _need(job)
        return (
            need.cpus <= self.cpus
            and need.mem_gb <= self.mem_gb
            and job.shape.gpus_per_node <= len(self.gpus)
        )


@dataclass(kw_only=True)
class _Need:
    cpus: int
    mem_gb: float


def _need(job: Job) -> _Need:
    return _Need(cpus=job.shape.cpus, mem_gb=job.shape.mem_gb or DEFAULT_MEM_GB)


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


@dataclass(kw_only=True)
class _Running:
    job: Job
    handle: Any
    gpus: list[int]


@dataclass(kw_only=True)
class LocalScheduler:
    """A pool of submitit's local jobs. Jobs start from `poll`, which the follower calls."""

    folder: Path
    capacity: Capacity = field(default_factory=Capacity.of_this_machine)
    max_parallel: int | None = None
    _queued: list[Job] = field(default_factory=list)
    _running: dict[str, _Running] = field(default_factory=dict)
    _ended: dict[str, JobStatus] = field(default_factory=dict)
    _watched: dict[str, str] = field(default_factory=dict)
    _started: Callable[[Job, str], None] | None = None

    def check(self, jobs: Sequence[Job]) -> None:
        """Refuse jobs that this machine can never hold, even when it is idle."""
        for job in jobs:
            if job.shape.nodes > 1:
                raise SubmissionError(
                    f"the local launcher has one node, `{job.name}` asks for {job.shape.nodes}",
                    hint="use hydra/launcher=slurm, or resources.nodes=1",
                )
            if not self.capacity.holds(job):
                need, free = _need(job), self.capacity
                raise SubmissionError(
                    f"`{job.name}` asks for {need.cpus} CPUs, {need.mem_gb:g} GB and"
                    f" {job.shape.gpus_per_node} GPUs; this machine has {free.cpus:g} CPUs,"
                    f" {free.mem_gb:.1f} GB free and {len(free.gpus)} GPUs",
                    hint="lower resources.*, or use hydra/launcher=slurm",
                )

    def submit(self, jobs: Sequence[Job], started: Callable[[Job, str], None]) -> None:
        """Queue jobs; they start as slots become free and the runs they wait for complete."""
        self._started = started
        self._queued.extend(jobs)

    def watch(self, key: str, job_id: str) -> None:
        """Follow a process that another launcher started."""
        self._watched[key] = job_id

    def poll(self) -> dict[str, JobStatus]:
        """Collect what ended, start what fits, and say how all jobs are."""
        self._collect()
        self._start()
        statuses = dict(self._ended)
        statuses.update({key: _process_status(pid) for key, pid in self._watched.items()})
        statuses.update({key: JobStatus(state="running") for key in self._running})
        for job in self._queued:
            blocked = any(not self._is_done(key) for key in job.after)
            statuses[job.key] = JobStatus(state="waiting" if blocked else "pending")
        return statuses

    def interrupted(self) -> str:
        """Local runs end with the command that started them."""
        self._queued.clear()
        for running in self._running.values():
            running.handle.cancel()
        return "interrupted: the local runs were stopped; the same command starts them again"

    def _collect(self) -> None:
        for key, running in list(self._running.items()):
            if not running.handle.done():
                continue
            del self._running[key]
            need = _need(running.job)
            self.capacity.cpus += need.cpus
            self.capacity.mem_gb += need.mem_gb
            self.capacity.gpus += running.gpus
            succeeded = _succeeded(running.handle)
            self._ended[key] = JobStatus(state="ended", reason="" if succeeded else "failed")

    def _start(self) -> None:
        for job in list(self._queued):
            failed = [key for key in job.after if self._has_failed(key)]
            if failed:
                self._queued.remove(job)
                reason = f"required run {failed[0]} failed"
                self._ended[job.key] = JobStatus(state="ended", reason=reason)
            elif all(self._is_done(key) for key in job.after) and self._has_room(job):
                self._queued.remove(job)
                self._launch(job)

    def _has_room(self, job: Job) -> bool:
        if self.max_parallel is not None and len(self._running) >= self.max_parallel:
            return False
        return self.capacity.holds(job)

    def _is_done(self, key: str) -> bool:
        if key in self._watched:
            return _process_status(self._watched[key]).state == "ended"
        status = self._ended.get(key)
        return status is not None and not status.reason

    def _has_failed(self, key: str) -> bool:
        status = self._ended.get(key)
        return status is not None and bool(status.reason)

    def _launch(self, job: Job) -> None:
        import submitit

        gpus = self.capacity.gpus[: job.shape.gpus_per_node]
        self.capacity.gpus = self.capacity.gpus[job.shape.gpus_per_node :]
        need = _need(job)
        self.capacity.cpus -= need.cpus
        self.capacity.mem_gb -= need.mem_gb
        # A process id may come back, and with it the files of an old job: one folder per job.
        executor = submitit.LocalExecutor(self.folder / f"local-{uuid.uuid4().hex[:8]}")
        executor.update_parameters(
            timeout_min=job.shape.timeout_min,
            tasks_per_node=job.shape.ranks_per_node,
            gpus_per_node=job.shape.gpus_per_node,
            visible_gpus=gpus,
            signal_delay_s=job.settings.signal_delay_s,
            stderr_to_stdout=job.settings.stderr_to_stdout,
        )
        with submitit.helpers.clean_env(), environment(**_job_environment(job)):
            handle = executor.submit(job.attempt)
        self._running[job.key] = _Running(job=job, handle=handle, gpus=gpus)
        if self._started is not None:
            self._started(job, f"{executor.folder.name}/{handle.job_id}")


def _job_environment(job: Job) -> dict[str, str]:
    inherited = os.environ.get("PYTHONPATH")
    path = [*job.python_path, *([inherited] if inherited else [])]
    threads = str(job.shape.cpus_per_rank)
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
    try:
        command = psutil.Process(int(job_id.rpartition("/")[2])).cmdline()
    except psutil.Error:
        return JobStatus(state="ended")
    alive = any("submitit.local._local" in word for word in command)
    return JobStatus(state="running" if alive else "ended")
