"""SLURM: one sbatch per array, one squeue per look. Scripts are made by submitit."""

from __future__ import annotations

import getpass
import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launcher.errors import SubmissionError, nearest
from launcher.records import SubmissionRecord
from launcher.scheduler.base import Job, JobStatus, environment
from launcher.settings import StudyLauncherConf
from launcher.topology import Shape, sbatch_parameters

COMMAND_TIMEOUT_S = 60
RETRY_AFTER_S = (1.0, 3.0)
"""Pauses before a question is asked again that SLURM did not answer."""
PATIENCE_S = 10.0
"""After so long it is not asked again."""
MAX_ARRAY_SIZE = 1001
"""SLURM's own default, where the site does not say."""
_IDS_PER_COMMAND = 500
_CLIENT_VARIABLES = ("SLURM_CONF", "SLURM_CLUSTERS")
"""Variables that say which SLURM to talk to; the other SLURM_* belong to a surrounding job."""
_WAITING_REASONS = {"Dependency", "DependencyNeverSatisfied"}
_PENDING = {"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "CONFIGURING", "SUSPENDED"}
_RUNNING = {"RUNNING", "COMPLETING", "SIGNALING", "STAGE_OUT", "RESIZING"}
_UNSURE = re.compile(r"timed out|Unable to contact|Zero Bytes|[Cc]onnection")
_TOKEN = re.compile(r"launcher:([0-9a-f]+)")


class SubmitLimitError(SubmissionError):
    """SLURM takes no more jobs of this user for now."""


class UnsureError(SubmissionError):
    """The job may have been taken, or not."""


class FullError(SubmitLimitError):
    """Not one more: SLURM holds as many jobs as it can (MaxJobCount)."""


@dataclass(frozen=True)
class _Answer:
    """What a client command said; without a return code it was still running when time was up."""

    returncode: int | None
    stdout: str = ""
    stderr: str = ""

    @property
    def reason(self) -> str:
        """Last line of its complaint."""
        lines = self.stderr.strip().splitlines()
        return lines[-1] if lines else "no answer in time" * (self.returncode is None)


@dataclass(frozen=True, kw_only=True)
class QueuedJob:
    """One line of squeue."""

    job_id: str
    token: str
    """Of the batch that it belongs to; empty if it is none of ours."""
    status: JobStatus


@dataclass(kw_only=True)
class SlurmScheduler:
    """The SLURM that sbatch and squeue of this machine talk to."""

    folder: Path
    """Where scripts, pickles and logs are kept."""
    variables: dict[str, str] = field(default_factory=dict)
    """Environment of the client commands, e.g. SLURM_CONF."""
    max_array_size: int | None = None
    """MaxArraySize; None asks SLURM."""
    inherited: tuple[int, ...] = ()
    """Descriptors that sbatch keeps open: the locks of who submits."""
    _ids: dict[str, str] = field(default_factory=dict)

    def check(self, jobs: Sequence[Job]) -> None:
        """Refuse what SLURM would refuse, or would leave pending for ever.

        Raises:
            SubmissionError: no SLURM here, no such partition, or `sbatch --test-only` says no.
        """
        require_commands()
        partitions = self._partitions()
        for group in group_by_shape(jobs):
            self._check_partition(group[0], partitions)
            self._test_only(group[0])

    def groups(self, jobs: Sequence[Job]) -> list[list[Job]]:
        """One array per identical shape, split at MaxArraySize."""
        size = self._array_size()
        return [
            group[i : i + size]
            for group in group_by_shape(jobs)
            for i in range(0, len(group), size)
        ]

    def script(self, job: Job, token: str, indexes: tuple[int, int] | None) -> str:
        """The sbatch script of a batch; `indexes` are the first and last of its array."""
        executor = self._executor(job, token)
        if indexes is not None:
            first, last = indexes
            parallel = executor.parameters.get("array_parallelism", last - first + 1)
            executor.parameters["map_count"] = last - first + 1
            extra = {**executor.parameters.get("additional_parameters", {})}
            extra["array"] = f"{first}-{last}%{min(parallel, last - first + 1)}"
            executor.parameters["additional_parameters"] = extra
        words = [executor.python, "-u", "-m", "launcher.start", str(self.batch_pickle(token))]
        command = " ".join([words[0], shlex.join(words[1:])])
        return str(executor._make_submission_file_text(command, token))

    def batch_pickle(self, token: str) -> Path:
        """File of the attempts of a batch."""
        return self.folder / f"{token}.pkl"

    def sbatch(self, job: Job, token: str, indexes: tuple[int, int] | None) -> str:
        """Submit a batch, or a part of its array; returns the job id.

        Raises:
            SubmitLimitError: not now, because the user has as many jobs as SLURM permits.
            SubmissionError: SLURM refused it for another reason, or gave no answer.
        """
        path = self.folder / f"{token}.sh"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.script(job, token, indexes))
        done = self._command(["sbatch", "--parsable", str(path)], submits=True)
        if done.returncode == 0:
            return done.stdout.strip().partition(";")[0]
        if done.returncode is None and _is_submit_limit(done.stderr):
            # sbatch itself tries again for two minutes, and was still trying.
            raise FullError(f"sbatch could not send `{job.name}`: {done.reason}")
        if done.returncode is None:
            raise UnsureError(
                "sbatch gave no answer",
                hint="the same command finds out whether the job was taken, and goes on",
            )
        if _is_submit_limit(done.stderr):
            raise SubmitLimitError(f"sbatch refused `{job.name}`: {done.reason}")
        if _UNSURE.search(done.stderr):
            raise UnsureError(f"sbatch lost its connection: {done.reason}", hint="try again")
        raise SubmissionError(f"sbatch refused `{job.name}`: {done.reason or 'no reason given'}")

    def queue(self) -> list[QueuedJob]:
        """Every job of this user that has not ended.

        Raises:
            SubmissionError: squeue gave no answer, also when it was asked again.
        """
        command = ["squeue", "--noheader", "--array", f"--user={getpass.getuser()}"]
        command += ["--format=%i|%T|%r|%N|%k"]
        began = time.monotonic()
        for pause_s in (*RETRY_AFTER_S, None):
            done = self._command(command)
            if done.returncode == 0:
                return [_queued(line) for line in done.stdout.splitlines() if line.count("|") >= 4]
            if pause_s is None or time.monotonic() - began > PATIENCE_S:
                break  # squeue itself tries for 20 s to reach a slurmctld that is gone
            time.sleep(pause_s)
        raise SubmissionError(
            f"SLURM does not answer: {done.reason}",
            hint="try `squeue` by hand; is slurmctld up, and does SLURM_CONF point to it?",
        )

    def owns(self, sent: SubmissionRecord) -> bool:
        """Whether it was sent to this SLURM."""
        return sent.scheduler == "slurm" and sent.environment == self.variables

    def watch(self, key: str, job_id: str) -> None:
        """Follow a job that was submitted earlier."""
        self._ids[key] = job_id

    def forget(self, key: str) -> None:
        """Drop the job of a run that will be sent again."""
        self._ids.pop(key, None)

    def is_watching(self, key: str) -> bool:
        """Whether a job of that run is known."""
        return key in self._ids

    def poll(self) -> dict[str, JobStatus]:
        """Status of all jobs from one squeue; what is no longer in the queue has ended."""
        if not self._ids:
            return {}
        try:
            rows = {row.job_id: row.status for row in self.queue()}
        except SubmissionError as error:
            return {key: JobStatus(state="unknown", reason=error.message) for key in self._ids}
        ended = JobStatus(state="ended")
        return {key: rows.get(job_id, ended) for key, job_id in self._ids.items()}

    def cancel(self, job_ids: Sequence[str]) -> None:
        """`scancel`; raises SubmissionError if SLURM does not take it."""
        for i in range(0, len(job_ids), _IDS_PER_COMMAND):
            done = self._command(["scancel", *job_ids[i : i + _IDS_PER_COMMAND]])
            if done.returncode != 0:
                raise SubmissionError(
                    f"scancel failed: {done.reason}", hint="issue the command again"
                )

    def interrupted(self) -> str:
        """Jobs outlive the command that follows them."""
        return "stopped watching; the jobs go on, `launch status` shows them"

    def _command(
        self, command: list[str], text: str | None = None, *, submits: bool = False
    ) -> _Answer:
        try:
            done = subprocess.run(
                command,
                input=text,
                stdin=None if text is not None else subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=COMMAND_TIMEOUT_S,
                check=False,
                env=self._environment(submits=submits),
                pass_fds=self.inherited if submits else (),
            )
        except subprocess.TimeoutExpired as late:
            return _Answer(None, stderr=bytes(late.stderr or b"").decode())
        except FileNotFoundError:
            require_commands()
            raise
        return _Answer(done.returncode, done.stdout, done.stderr)

    def _environment(self, *, submits: bool) -> dict[str, str]:
        """Of a client command. What a surrounding job left there must not reach a new one."""
        if not submits:
            return {**os.environ, **self.variables}
        import submitit

        client = {k: os.environ[k] for k in _CLIENT_VARIABLES if k in os.environ}
        with submitit.helpers.clean_env(), environment(**(client | self.variables)):
            return dict(os.environ)

    def _partitions(self) -> list[str]:
        done = self._command(["sinfo", "--noheader", "--format=%R"])
        if done.returncode != 0:
            raise SubmissionError(
                f"SLURM does not answer: {done.reason}",
                hint="try `sinfo` by hand; is slurmctld up, and does SLURM_CONF point to it?",
            )
        return sorted(set(done.stdout.split()))

    def _array_size(self) -> int:
        """Most elements of an array: indexes start at 0 and stay below MaxArraySize."""
        if self.max_array_size is None:
            done = self._command(["scontrol", "show", "config"])
            found = re.search(r"MaxArraySize\s*=\s*(\d+)", done.stdout)
            self.max_array_size = int(found.group(1)) if found else MAX_ARRAY_SIZE
        return max(1, self.max_array_size - 1)

    def _check_partition(self, job: Job, partitions: list[str]) -> None:
        asked = job.parameters.get("partition")
        for partition in str(asked).split(",") if asked else []:
            if partition not in partitions:
                match = nearest(partition, partitions)
                raise SubmissionError(
                    f"partition `{partition}` does not exist; there are: {', '.join(partitions)}",
                    hint=f"cluster.partition={match or partitions[0]}",
                )

    def _test_only(self, job: Job) -> None:
        executor = self._executor(job, "test", with_dependency=False)
        done = self._command(
            ["sbatch", "--test-only"], text=executor._make_submission_file_text("true", "test")
        )
        if done.returncode and not _is_submit_limit(done.stderr):
            raise SubmissionError(
                f"SLURM would refuse `{job.name}` ({job.shape}): {done.reason}",
                hint="check cluster.* (partition, account, qos) and resources.*",
            )

    def _executor(self, job: Job, token: str, *, with_dependency: bool = True) -> Any:
        import submitit

        # SLURM expands % in the paths of its logs; submitit passes them on as they are.
        executor = submitit.SlurmExecutor(self.folder, max_num_timeout=0)
        parameters = {**job.parameters, "setup": _setup_lines(job)}
        parameters["comment"] = f"{parameters.get('comment') or ''} launcher:{token}".strip()
        after = [self._ids[key] for key in job.after if key in self._ids]
        if after and with_dependency:
            parameters["dependency"] = "afterok:" + ":".join(after)
            # Else a job whose requirement failed would stay pending for ever.
            extra = {**parameters.get("additional_parameters", {}), "kill-on-invalid-dep": "yes"}
            parameters["additional_parameters"] = extra
        executor.update_parameters(**parameters)
        return executor


def require_commands() -> None:
    """Raise SubmissionError where there is no SLURM."""
    if shutil.which("sbatch") is None or shutil.which("srun") is None:
        raise SubmissionError(
            "there is no SLURM on this machine: `sbatch` and `srun` are not on the PATH",
            hint="submit from a login node, or use hydra/launcher=local",
        )


def parameters_of(settings: StudyLauncherConf, shape: Shape) -> dict[str, Any]:
    """Everything sbatch is told about a run: shape, site, and the stock launcher's own keys."""
    parameters = sbatch_parameters(shape, settings.cluster)
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
        setup=[*settings.cluster.setup, *(settings.setup or [])],
        wckey=None,
    )
    return parameters


def _setup_lines(job: Job) -> list[str]:
    """Shell lines before srun: the site's own, then what our job needs."""
    python_path = os.pathsep.join(job.python_path)
    threads = job.shape.cpus_per_rank
    return [
        *job.parameters.get("setup", []),
        f'export PYTHONPATH={shlex.quote(python_path)}"${{PYTHONPATH:+:$PYTHONPATH}}"',
        "export PYTHONSAFEPATH=1",
        f"export OMP_NUM_THREADS={threads} MKL_NUM_THREADS={threads}",
        # The ranks of a dead rank would wait for it until the time limit.
        "export SLURM_KILL_BAD_EXIT=1",
    ]


def group_by_shape(jobs: Sequence[Job]) -> list[list[Job]]:
    """Jobs that can be one array. Jobs come after what they wait for, and so do the groups."""
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        same = repr((job.parameters, job.shape, job.after, job.is_required, job.python_path))
        groups.setdefault(same, []).append(job)
    return list(groups.values())


def _is_submit_limit(words: str) -> bool:
    """Whether sbatch's complaint is about the number of jobs, not about their size."""
    named = re.findall(r"\w+Limit\b", words)
    if named:
        return any("Submit" in name for name in named)
    return re.search(r"job submit limit|temporarily unable to accept job", words) is not None


def _queued(line: str) -> QueuedJob:
    job_id, state, reason, node, comment = line.split("|", 4)
    token = _TOKEN.search(comment)
    return QueuedJob(
        job_id=job_id,
        token=token.group(1) if token else "",
        status=_status(state, "" if reason == "None" else reason, node),
    )


def _status(state: str, reason: str, node: str) -> JobStatus:
    if state in _PENDING:
        waiting = reason in _WAITING_REASONS
        return JobStatus(state="waiting" if waiting else "pending", reason=reason)
    if state in _RUNNING:
        return JobStatus(state="running", node=node)
    return JobStatus(state="ended", reason=state)
