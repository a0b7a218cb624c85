"""Runs on this machine, as many at once as cores, memory and GPUs allow.

Each has a controller of its own (`launcher.controller`), which goes on when this process ends.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from launcher import files, store
from launcher.errors import SubmissionError
from launcher.job import Attempt
from launcher.records import Outcome, SubmissionRecord
from launcher.scheduler.base import Job, JobStatus, outside_of_jobs
from launcher.states import NO_OUTCOME
from launcher.topology import Shape

MODULE = "launcher.controller"
SPLIT = "--split"
"""Argument of it: keep what ranks write to stderr in a file of its own."""
STOP_WAIT_S = 10.0
"""How long a run may take to save and leave when it is cancelled or interrupted [s]."""
CONCLUDE_WITHIN_S = 10.0
"""How long a controller may take beyond its ranks, before it is killed with them [s]."""
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


@dataclass(kw_only=True)
class _Running:
    queued: _Queued
    controller: subprocess.Popen[bytes]
    gpus: list[int]
    grown_gb: float = 0.0
    """Memory that it got beyond its shape, after it had run out of it."""


@dataclass(kw_only=True)
class LocalScheduler:
    """A pool of controllers. Runs start from `poll`, which the follower calls."""

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
        self._grow()
        self._start()
        statuses = {key: _process_status(job_id) for key, job_id in self._watched.items()}
        statuses.update(self._ended)
        statuses.update({key: JobStatus(state="running") for key in self._running})
        for queued in self._queued:
            blocked = any(not self._is_done(key, queued.sent) for key in queued.sent.after)
            statuses[queued.sent.key] = JobStatus(state="waiting" if blocked else "pending")
        return statuses

    def cancel(self, job_ids: Sequence[str]) -> None:
        """End runs of this machine; returns when they have left."""
        _stop([c for c in map(_controller, job_ids) if c is not None])

    def interrupted(self, say: Callable[[str], None]) -> None:
        """Local runs stop with the command that started them; with a second ctrl-C at once."""
        self._queued.clear()
        self._collect()
        running = [psutil.Process(r.controller.pid) for r in self._running.values()]
        if running:
            runs = "1 run" if len(running) == 1 else f"{len(running)} runs"
            say(
                f"stopping {runs} at a safe point, within {STOP_WAIT_S:g} s;"
                " press ctrl-C again to kill"
            )
        try:
            _stop(running)
        except KeyboardInterrupt:
            _kill(running)
        say("interrupted: the local runs were stopped; the same command goes on with them")

    def _collect(self) -> None:
        for key, running in list(self._running.items()):
            if running.controller.poll() is None:
                continue
            del self._running[key]
            self.capacity.give_back(running.queued.sent.shape, running.gpus)
            self.capacity.mem_gb += running.grown_gb
            last = _last_outcome(running.queued.run_dir, key, running.queued.sent.number)
            reason = "" if last == "completed" else NO_OUTCOME
            self._ended[key] = JobStatus(state="ended", reason=reason)

    def _grow(self) -> None:
        """What a run may use more since it ran out of memory, others may use less."""
        for running in self._running.values():
            sent = running.queued.sent
            now_gb = store.adjustments(running.queued.run_dir, sent).mem_gb or _mem_gb(sent.shape)
            more_gb = now_gb - _mem_gb(sent.shape) - running.grown_gb
            self.capacity.mem_gb -= more_gb
            running.grown_gb += more_gb

    def _start(self) -> None:
        for queued in list(self._queued):
            sent = queued.sent
            failed = [key for key in sent.after if self._has_failed(key, sent)]
            cancelled = store.cancelled(queued.run_dir)
            if cancelled is not None and cancelled.number == sent.number:
                self._drop(queued, "cancelled")
            elif failed:
                self._drop(queued, f"required run {failed[0]} failed")
            elif self._has_room(sent.shape) and all(self._is_done(key, sent) for key in sent.after):
                self._queued.remove(queued)
                self._launch(queued)

    def _drop(self, queued: _Queued, reason: str) -> None:
        self._queued.remove(queued)
        self._ended[queued.sent.key] = JobStatus(state="ended", reason=reason)

    def _has_room(self, shape: Shape) -> bool:
        if self.max_parallel is not None and len(self._running) >= self.max_parallel:
            return False
        return self.capacity.holds(shape)

    def _is_done(self, key: str, sent: SubmissionRecord) -> bool:
        if key in self._watched:
            return self._has_left(key) and _has_completed(key, sent)
        status = self._ended.get(key)
        return status is not None and not status.reason

    def _has_failed(self, key: str, sent: SubmissionRecord) -> bool:
        if key in self._watched:
            return self._has_left(key) and not _has_completed(key, sent)
        status = self._ended.get(key)
        return status is not None and bool(status.reason)

    def _has_left(self, key: str) -> bool:
        return _process_status(self._watched[key]).state == "ended"

    def _launch(self, queued: _Queued) -> None:
        sent = queued.sent
        gpus = self.capacity.take(sent.shape)
        # A process id may come back, and with it the files of an old job: one folder per job.
        folder = self.folder / f"local-{uuid.uuid4().hex[:8]}"
        controller = _start_controller(queued, folder, gpus)
        self._running[sent.key] = _Running(queued=queued, controller=controller, gpus=gpus)
        job_id = f"{socket.gethostname()}/{folder.name}/{controller.pid}"
        store.write_submission(queued.run_dir, sent.model_copy(update={"job_id": job_id}))


def _start_controller(
    queued: _Queued, folder: Path, gpus: Sequence[int]
) -> subprocess.Popen[bytes]:
    """In a session of its own, so that ctrl-C in a terminal reaches this process alone."""
    sent = queued.sent
    batch = folder / "batch.pkl"
    files.write_bytes(batch, pickle.dumps([Attempt.of(sent, queued.run_dir)]), durable=False)
    split = [] if sent.parameters["stderr_to_stdout"] else [SPLIT]
    variables = outside_of_jobs(os.environ) | _job_environment(sent)
    variables["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, gpus))
    with open(folder / "controller.log", "wb") as log:
        return subprocess.Popen(
            [sys.executable, "-u", "-m", MODULE, str(batch), *split],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=variables,
            start_new_session=True,
        )


def _stop(controllers: Sequence[psutil.Process]) -> None:
    """Ask controllers to end their runs, and kill those that do not in time."""
    for controller in controllers:
        with contextlib.suppress(psutil.NoSuchProcess):
            controller.terminate()
    _, alive = psutil.wait_procs(controllers, timeout=STOP_WAIT_S + CONCLUDE_WITHIN_S)
    _kill(alive)


def _kill(controllers: Sequence[psutil.Process]) -> None:
    """Have runs killed now; a controller that does not is killed, and what it started with it."""
    for controller in controllers:
        with contextlib.suppress(psutil.NoSuchProcess):
            controller.terminate()  # the second time it does not wait
    alive = controllers
    with contextlib.suppress(KeyboardInterrupt):  # whoever presses it once more waits no longer
        _, alive = psutil.wait_procs(controllers, timeout=CONCLUDE_WITHIN_S)
    for controller in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            controller.kill()


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


def _has_completed(key: str, sent: SubmissionRecord) -> bool:
    """Whether a run that `sent` requires says so."""
    return any(_last_outcome(folder, key) == "completed" for folder in sent.inputs.values())


def _last_outcome(run_dir: Path | str, key: str, number: int | None = None) -> Outcome | None:
    lives = store.attempts(run_dir, number, key)
    return lives[-1].outcome if lives else None


def _process_status(job_id: str) -> JobStatus:
    """Of a job that another launcher started."""
    host, _, process = job_id.partition("/")
    if process and host != socket.gethostname():
        return JobStatus(state="unknown", reason=f"it runs on {host}; ask there")
    return JobStatus(state="ended" if _controller(job_id) is None else "running")


def _controller(job_id: str) -> psutil.Process | None:
    """The controller of a job while it lives; its process id may since belong to another."""
    host, _, process = job_id.partition("/")
    if process and host != socket.gethostname():
        return None
    folder, _, number = process.partition("/")
    try:
        controller = psutil.Process(int(number))
        command = controller.cmdline()
    except (psutil.Error, ValueError):
        return None
    is_ours = MODULE in command and (folder == "?" or any(folder in word for word in command))
    return controller if is_ours else None
