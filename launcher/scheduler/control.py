"""Ask SLURM about one job, and put it back into its queue, as it was or changed.

Everything is done as the job's own user: on a login node, or from inside of the job.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from launcher.errors import SubmissionError
from launcher.scheduler.client import Answer, SlurmClient
from launcher.scheduler.facts import (
    ACCOUNT_FIELDS,
    Account,
    JobFacts,
    parse_account,
    parse_job,
    usable_nodes,
)

ASK_AGAIN_S = 1.0
"""Pause before a command is tried again that SLURM did not answer [s]."""
ACCOUNTS_S = 15
"""How long sacct may take [s]."""
_NO_SUCH_JOB = re.compile(r"Invalid job id|job_id .* not found|does not exist")
_SILENCE = re.compile(
    r"Unable to contact|timed out|[Cc]onnect|Zero Bytes|Socket|Communication|Resource temporarily"
)


class Control(Protocol):
    """What concluding an attempt needs of whoever has its job."""

    def facts(self) -> JobFacts | None:
        """What is known of the job now, None if it is known no more."""

    def nodes(self, partition: str) -> list[tuple[str, float]]:
        """Nodes that can take jobs, with their memory [GB]."""

    def requeue(self) -> None:
        """Have the job start again."""

    def change(self, *, mem_gb: float | None, exclude: Sequence[str]) -> None:
        """Have the job start again, with other memory or without some nodes."""


class RefusedError(SubmissionError):
    """SLURM answered, and does not do what it was told."""


@dataclass(kw_only=True)
class JobControl:
    """One job of SLURM; an array element is known as `<array>_<index>`."""

    job_id: str
    client: SlurmClient = field(default_factory=SlurmClient)
    patience_s: float = 60.0
    """How long to go on asking while slurmctld does not answer [s]."""

    def facts(self) -> JobFacts | None:
        """What slurmctld says of the job, None if it knows it no more.

        Raises:
            SubmissionError: it did not answer in time.
        """
        done = self._answer(["scontrol", "show", "job", self.job_id])
        if done.returncode == 0:
            return parse_job(done.stdout)
        if _NO_SUCH_JOB.search(done.stderr):
            return None
        raise SubmissionError(f"scontrol show job {self.job_id}: {done.reason}")

    def account(self, since_s: float | None, restart: int) -> Account | None:
        """What the accounts say of the life that was under way at `since_s`.

        Args:
            since_s: None where the life never said when it began.
            restart: How often the job had been requeued before that life, which tells it then.

        Returns:
            None where they do not know it (yet).

        Raises:
            SubmissionError: there are none, or they do not answer. They are asked only once:
                no decision waits for the accounts.
        """
        fields = ",".join(f"{name}%200" for name in ACCOUNT_FIELDS)
        options = ["--noheader", "--parsable2", "--duplicates", f"--jobs={self.job_id}"]
        command = ["timeout", str(ACCOUNTS_S), "sacct", *options, f"--format={fields}"]
        done = self._run(command)
        if done.returncode != 0:
            raise SubmissionError(f"sacct: {done.reason or 'no answer in time'}")
        return parse_account(done.stdout, since_s, restart)

    def nodes(self, partition: str) -> list[tuple[str, float]]:
        """Nodes of a partition that can take jobs, with their memory [GB].

        Raises:
            SubmissionError: slurmctld did not answer in time.
        """
        asked = [f"--partition={partition}"] if partition else []
        done = self._answer(["sinfo", "--noheader", "--Node", *asked, "--format=%N|%T|%m"])
        if done.returncode != 0:
            raise SubmissionError(f"sinfo: {done.reason}")
        return usable_nodes(done.stdout.splitlines())

    def lost_nodes(self, names: Sequence[str]) -> list[str]:
        """Those of some nodes that SLURM has lost: down, or not responding.

        Raises:
            SubmissionError: slurmctld did not answer in time.
        """
        listed = f"--nodes={','.join(names)}"
        done = self._answer(["sinfo", "--noheader", "--Node", listed, "--format=%N|%T"])
        if done.returncode != 0:
            raise SubmissionError(f"sinfo: {done.reason}")
        rows = [line.split("|") for line in dict.fromkeys(done.stdout.split())]
        return [name for name, state in rows if state.startswith("down") or state.endswith("*")]

    def requeue(self) -> None:
        """Put the job back into the queue, under its id.

        Raises:
            RefusedError: SLURM does not requeue it.
            SubmissionError: it did not answer in time.
        """
        self._do("requeue", self.job_id)

    def change(self, *, mem_gb: float | None, exclude: Sequence[str]) -> None:
        """Put the job back into the queue, with other memory or without some nodes.

        Held while it is changed: a life that started in between would repeat the last one's end.

        Raises:
            RefusedError: SLURM does not requeue it, or not with that change; it is released then
                all the same.
            SubmissionError: it did not answer in time.
        """
        self._do("requeuehold", self.job_id)
        self.change_held(mem_gb=mem_gb, exclude=exclude)

    def change_held(self, *, mem_gb: float | None, exclude: Sequence[str]) -> None:
        """The second half of `change`, for a job that is held already.

        Raises:
            RefusedError: SLURM does not take the change; the job is released all the same.
            SubmissionError: it did not answer in time.
        """
        try:
            self.update(mem_gb=mem_gb, exclude=exclude)
        finally:
            self._do("release", self.job_id)

    def update(self, *, mem_gb: float | None, exclude: Sequence[str]) -> None:
        """Change a job that waits.

        Raises:
            RefusedError: SLURM does not take the change.
            SubmissionError: it did not answer in time.
        """
        changes = [f"ExcNodeList={','.join(exclude)}"] if exclude else []
        changes += [f"MinMemoryNode={round(mem_gb * 1024)}"] if mem_gb is not None else []
        if changes:
            self._do("update", f"JobId={self.job_id}", *changes)

    def _do(self, *words: str) -> None:
        done = self._answer(["scontrol", *words])
        if done.returncode != 0:
            kind = SubmissionError if _is_silence(done) else RefusedError
            raise kind(f"scontrol {words[0]} {self.job_id}: {done.reason}")

    def _answer(self, command: list[str]) -> Answer:
        """The answer to a command, which is tried again while there is none."""
        until = time.monotonic() + self.patience_s
        while True:
            done = self._run(command)
            if not _is_silence(done) or time.monotonic() > until:
                return done
            time.sleep(ASK_AGAIN_S)

    def _run(self, command: list[str]) -> Answer:
        # Times in another format, or in words, could not be read.
        variables = {**self.client.variables, "SLURM_TIME_FORMAT": "standard"}
        return SlurmClient(variables=variables).run(command)


def _is_silence(done: Answer) -> bool:
    return done.returncode is None or (
        done.returncode != 0 and _SILENCE.search(done.stderr) is not None
    )
