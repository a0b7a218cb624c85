"""SLURM through submitit: one array per identical shape, asked about with one squeue."""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launcher.errors import SubmissionError, nearest
from launcher.scheduler.base import Job, JobStatus, environment
from launcher.topology import sbatch_parameters

COMMAND_TIMEOUT_S = 60
_CLIENT_VARIABLES = ("SLURM_CONF", "SLURM_CLUSTERS")
"""Variables that say which SLURM to talk to; the other SLURM_* belong to a surrounding job."""
_WAITING_REASONS = {"Dependency", "DependencyNeverSatisfied"}
_PENDING = {"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "CONFIGURING", "SUSPENDED"}
_RUNNING = {"RUNNING", "COMPLETING", "SIGNALING", "STAGE_OUT", "RESIZING"}


@dataclass(kw_only=True)
class SlurmScheduler:
    """The SLURM that sbatch and squeue of this machine talk to."""

    folder: Path
    """Where submitit keeps scripts, pickles and logs."""
    variables: dict[str, str] = field(default_factory=dict)
    """Environment of the client commands, e.g. SLURM_CONF."""
    _ids: dict[str, str] = field(default_factory=dict)

    def check(self, jobs: Sequence[Job]) -> None:
        """Refuse what SLURM would refuse, or would leave pending for ever.

        Raises:
            SubmissionError: no SLURM here, no such partition, or `sbatch --test-only` says no.
        """
        if shutil.which("sbatch") is None or shutil.which("srun") is None:
            raise SubmissionError(
                "there is no SLURM on this machine: `sbatch` and `srun` are not on the PATH",
                hint="submit from a login node, or use hydra/launcher=local",
            )
        partitions = self._partitions()
        for group in _groups(jobs):
            self._check_partition(group[0], partitions)
            self._test_only(group)

    def submit(self, jobs: Sequence[Job], started: Callable[[Job, str], None]) -> None:
        """Send one array per group of identical shape; those that others wait for first."""
        import submitit

        client = {k: os.environ[k] for k in _CLIENT_VARIABLES if k in os.environ} | self.variables
        for group in _groups(jobs):
            executor = self._executor(group[0])
            try:
                # What a surrounding job left in the environment must not reach this one.
                with submitit.helpers.clean_env(), environment(**client), executor.batch():
                    handles = [executor.submit(job.attempt) for job in group]
                ids = [handle.job_id for handle in handles]
            except submitit.core.utils.FailedJobError as error:
                raise SubmissionError(f"sbatch refused the job: {error}") from error
            for job, job_id in zip(group, ids, strict=True):
                self._ids[job.key] = job_id
                started(job, job_id)

    def watch(self, key: str, job_id: str) -> None:
        """Follow a job that was submitted earlier."""
        self._ids[key] = job_id

    def poll(self) -> dict[str, JobStatus]:
        """Status of all jobs from one squeue; what is no longer in the queue has ended."""
        listed = self._run(
            ["squeue", "--noheader", "--array", f"--user={getpass.getuser()}", "--format=%i|%T|%r"]
        )
        if listed is None:
            return {
                key: JobStatus(state="unknown", reason="squeue gave no answer") for key in self._ids
            }
        rows = dict(_status_row(line) for line in listed.splitlines() if line.count("|") == 2)
        ended = JobStatus(state="ended")
        return {key: rows.get(job_id, ended) for key, job_id in self._ids.items()}

    def interrupted(self) -> str:
        """Jobs outlive the command that follows them."""
        return "stopped watching; the jobs go on, `launch status` shows them"

    def _run(self, command: list[str], text: str | None = None) -> str | None:
        done = self._command(command, text)
        return None if done is None or done.returncode else done.stdout

    def _command(
        self, command: list[str], text: str | None = None
    ) -> subprocess.CompletedProcess[str] | None:
        try:
            return subprocess.run(
                command,
                input=text,
                capture_output=True,
                text=True,
                timeout=COMMAND_TIMEOUT_S,
                check=False,
                env={**os.environ, **self.variables},
            )
        except (subprocess.TimeoutExpired, FileNotFoundError):
            return None

    def _partitions(self) -> list[str]:
        done = self._command(["sinfo", "--noheader", "--format=%R"])
        if done is None or done.returncode:
            words = done.stderr.strip().splitlines() if done is not None else []
            reason = words[-1] if words else "`sinfo` gave no answer in time"
            raise SubmissionError(
                f"SLURM does not answer: {reason}",
                hint="try `sinfo` by hand; is slurmctld up, and does SLURM_CONF point to it?",
            )
        return sorted(set(done.stdout.split()))

    def _check_partition(self, job: Job, partitions: list[str]) -> None:
        asked = _parameters(job).get("partition")
        for partition in str(asked).split(",") if asked else []:
            if partition not in partitions:
                match = nearest(partition, partitions)
                raise SubmissionError(
                    f"partition `{partition}` does not exist; there are: {', '.join(partitions)}",
                    hint=f"cluster.partition={match or partitions[0]}",
                )

    def _test_only(self, group: Sequence[Job]) -> None:
        script = self._executor(group[0], with_dependency=False)._make_submission_file_text(
            "true", "test"
        )
        done = self._command(["sbatch", "--test-only"], text=script)
        if done is not None and done.returncode:
            reasons = done.stderr.strip().splitlines() or ["no reason given"]
            raise SubmissionError(
                f"SLURM would refuse `{group[0].name}` ({group[0].shape}): {reasons[-1]}",
                hint="check cluster.* (partition, account, qos) and resources.*",
            )

    def _executor(self, job: Job, *, with_dependency: bool = True) -> Any:
        import submitit

        # SLURM expands % in the paths of its logs; submitit passes them on as they are.
        executor = submitit.SlurmExecutor(self.folder, max_num_timeout=0)
        parameters = _parameters(job)
        after = [self._ids[key] for key in job.after if key in self._ids]
        if after and with_dependency:
            parameters["dependency"] = "afterok:" + ":".join(after)
            # Else a job whose requirement failed would stay pending for ever.
            parameters["additional_parameters"]["kill-on-invalid-dep"] = "yes"
        executor.update_parameters(**parameters)
        return executor


def _parameters(job: Job) -> dict[str, Any]:
    """Everything sbatch is told about a job: shape, site, and the stock launcher's own keys."""
    settings = job.settings
    parameters = sbatch_parameters(job.shape, settings.cluster)
    for name in ("partition", "account", "qos", "comment", "constraint", "exclude"):
        value = getattr(settings, name)
        if value is not None:
            parameters[name] = value
    parameters.update(
        job_name=settings.name,
        signal_delay_s=settings.signal_delay_s,
        stderr_to_stdout=settings.stderr_to_stdout,
        array_parallelism=settings.array_parallelism,
        additional_parameters=dict(settings.additional_parameters),
        setup=_setup_lines(job),
        wckey=None,
    )
    return parameters


def _setup_lines(job: Job) -> list[str]:
    """Shell lines before srun: the site's own, then what our job needs."""
    python_path = os.pathsep.join(job.python_path)
    threads = job.shape.cpus_per_rank
    return [
        *job.settings.cluster.setup,
        *(job.settings.setup or []),
        f'export PYTHONPATH={shlex.quote(python_path)}"${{PYTHONPATH:+:$PYTHONPATH}}"',
        "export PYTHONSAFEPATH=1",
        f"export OMP_NUM_THREADS={threads} MKL_NUM_THREADS={threads}",
        # The ranks of a dead rank would wait for it until the time limit.
        "export SLURM_KILL_BAD_EXIT=1",
    ]


def _groups(jobs: Iterable[Job]) -> list[list[Job]]:
    """Jobs that can be one array. Jobs come after what they wait for, and so do the groups."""
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        parameters = _parameters(job)
        groups.setdefault(repr((parameters, job.after, job.is_required)), []).append(job)
    return [
        group[i : i + size]
        for group in groups.values()
        for size in [max(1, group[0].settings.cluster.max_array_size - 1)]
        for i in range(0, len(group), size)
    ]


def _status_row(line: str) -> tuple[str, JobStatus]:
    job_id, state, reason = line.split("|")
    reason = "" if reason == "None" else reason
    if state in _PENDING:
        waiting = reason in _WAITING_REASONS
        return job_id, JobStatus(state="waiting" if waiting else "pending", reason=reason)
    if state in _RUNNING:
        return job_id, JobStatus(state="running")
    return job_id, JobStatus(state="ended", reason=state)
