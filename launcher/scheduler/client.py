"""The client commands of SLURM: run with the right environment, asked again, understood."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass, field

from launcher.errors import SubmissionError
from launcher.scheduler.base import JobStatus, outside_of_jobs

COMMAND_TIMEOUT_S = 60
RETRY_AFTER_S = (1.0, 3.0)
"""Pauses before a question is asked again that SLURM did not answer."""
PATIENCE_S = 10.0
"""After so long it is not asked again."""
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
class Answer:
    """What a client command said; without a return code it was still running when time was up."""

    returncode: int | None
    stdout: str = ""
    stderr: str = ""

    @property
    def reason(self) -> str:
        """Last line of its complaint."""
        lines = self.stderr.strip().splitlines()
        if lines:
            return lines[-1]
        return "no answer in time" if self.returncode is None else ""


@dataclass(frozen=True, kw_only=True)
class QueuedJob:
    """One line of squeue."""

    job_id: str
    token: str
    """Of the batch that it belongs to; empty if it is none of ours."""
    status: JobStatus


@dataclass(kw_only=True)
class SlurmClient:
    """Runs sbatch, squeue and their kin."""

    variables: dict[str, str] = field(default_factory=dict)
    """Environment of the commands, e.g. SLURM_CONF."""
    inherited: tuple[int, ...] = ()
    """Descriptors that sbatch keeps open: the locks of who submits."""

    def sbatch(self, arguments: list[str], name: str) -> str:
        """Submit; returns the job id.

        Raises:
            SubmitLimitError: not now, because the user has as many jobs as SLURM permits.
            UnsureError: no answer; the job may have been taken.
            SubmissionError: refused for another reason.
        """
        done = self.run(["sbatch", "--parsable", *arguments], submits=True)
        if done.returncode == 0:
            return done.stdout.strip().partition(";")[0]
        if done.returncode is None and is_submit_limit(done.stderr):
            # sbatch itself tries again for two minutes, and was still trying.
            raise FullError(f"sbatch could not send `{name}`: {done.reason}")
        if done.returncode is None:
            raise UnsureError(
                "sbatch gave no answer",
                hint="the same command finds out whether the job was taken, and goes on",
            )
        if is_submit_limit(done.stderr):
            raise SubmitLimitError(f"sbatch refused `{name}`: {done.reason}")
        if _UNSURE.search(done.stderr):
            raise UnsureError(f"sbatch lost its connection: {done.reason}", hint="try again")
        raise SubmissionError(f"sbatch refused `{name}`: {done.reason or 'no reason given'}")

    def queue(self) -> list[QueuedJob]:
        """Every job of this user that has not ended.

        Raises:
            SubmissionError: squeue gave no answer, also when it was asked again.
        """
        command = ["squeue", "--noheader", "--array", f"--user={getpass.getuser()}"]
        command += ["--format=%i|%T|%r|%N|%k"]
        began = time.monotonic()
        for pause_s in (*RETRY_AFTER_S, None):
            done = self.run(command)
            if done.returncode == 0:
                return [_queued(line) for line in done.stdout.splitlines() if line.count("|") >= 4]
            if pause_s is None or time.monotonic() - began > PATIENCE_S:
                break  # squeue itself tries for 20 s to reach a slurmctld that is gone
            time.sleep(pause_s)
        raise SubmissionError(
            f"SLURM does not answer: {done.reason}",
            hint="try `squeue` by hand; is slurmctld up, and does SLURM_CONF point to it?",
        )

    def run(
        self,
        command: list[str],
        text: str | None = None,
        *,
        submits: bool = False,
        timeout_s: float = COMMAND_TIMEOUT_S,
    ) -> Answer:
        """Run a command of SLURM to its end, or until time is up.

        Raises:
            SubmissionError: there is no such command on this machine.
        """
        try:
            done = subprocess.run(
                command,
                input=text,
                stdin=None if text is not None else subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
                env=self._environment(submits=submits),
                pass_fds=self.inherited if submits else (),
            )
        except subprocess.TimeoutExpired as late:
            return Answer(None, stderr=_text(late.stderr))
        except FileNotFoundError:
            require_commands()
            raise
        return Answer(done.returncode, done.stdout, done.stderr)

    def _environment(self, *, submits: bool) -> dict[str, str]:
        """Of a client command. What a surrounding job left there must not reach a new one."""
        if not submits:
            return {**os.environ, **self.variables}
        return outside_of_jobs(os.environ, keep=_CLIENT_VARIABLES) | self.variables


def _text(said: str | bytes | None) -> str:
    """What a command that was stopped had said: bytes on Linux, also where text was asked for."""
    return said.decode(errors="replace") if isinstance(said, bytes) else said or ""


def require_commands() -> None:
    """Raise SubmissionError where there is no SLURM."""
    if shutil.which("sbatch") is None or shutil.which("srun") is None:
        raise SubmissionError(
            "there is no SLURM on this machine: `sbatch` and `srun` are not on the PATH",
            hint="submit from a login node, or use hydra/launcher=local",
        )


def is_submit_limit(words: str) -> bool:
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
