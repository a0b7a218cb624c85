"""A handle on a lab that is up: submit jobs, ask SLURM, disturb it."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from . import cgroups, jobs
from .errors import CommandFailedError, LabError
from .jobs import Row
from .logs import log_tails
from .machine import Machine
from .waiting import wait_until

_TIMEOUT_S = 60.0
_WAIT_INTERVAL_S = 0.15


class Lab(Machine):
    """One running cluster. Many handles may exist; none of them owns it."""

    def sbatch(self, script: str, *arguments: str, as_user: bool = True) -> str:
        """Submit a script (its `#!` line is added) from the home folder; return the job id."""
        command = ["sbatch", "--parsable", *arguments]
        result = self.run(command, as_user=as_user, input=f"#!/bin/bash\n{script}\n")
        return result.stdout.strip().partition(";")[0]

    def ask(self, argv: Sequence[str]) -> str:
        """Run a SLURM command as root on the host, by SLURM_CONF alone; return stdout."""
        environment = self.environment(as_user=False)
        result = subprocess.run(
            argv, env=environment, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
        )
        if result.returncode:
            raise CommandFailedError(
                f"{argv} ended with {result.returncode}",
                returncode=result.returncode,
                stdout=result.stdout,
                stderr=result.stderr,
            )
        return result.stdout

    def squeue(self) -> list[Row]:
        """List all jobs, also recently ended ones; one row per array element."""
        return jobs.parse_squeue(self.ask(jobs.squeue_command()))

    def sacct(
        self,
        job_id: str,
        fields: Sequence[str] = jobs.SACCT_FIELDS,
        *,
        with_lives: bool = False,
    ) -> list[Row]:
        """List a job, its array elements and steps from the accounts.

        Args:
            job_id: A job, an array or an element.
            fields: Names as in `sacct --helpformat`; they are the keys of the rows.
            with_lives: Also list the lives before a requeue.
        """
        command = jobs.sacct_command([job_id], fields, with_lives=with_lives)
        return jobs.parse_sacct(self.ask(command), fields)

    def scontrol(self, *arguments: str) -> str:
        """Run scontrol as root."""
        return self.ask(["scontrol", *arguments])

    def node_states(self) -> dict[str, str]:
        """Return what sinfo says of each node."""
        lines = self.ask(["sinfo", "--noheader", "--Node", "--partition=gpu", "--format=%N %T"])
        return dict(line.split() for line in lines.splitlines())

    def set_node_state(self, node: str, state: str, reason: str = "test") -> None:
        """Change a node's state, for instance to down, drain or resume."""
        self.scontrol("update", f"nodename={node}", f"state={state}", f"reason={reason}")

    def wait(
        self, job_ids: str | Iterable[str], timeout_s: float = 120.0, *, in_accounts: bool = True
    ) -> None:
        """Return when all jobs are in a terminal state.

        Args:
            job_ids: Jobs, whole arrays or elements.
            timeout_s: How long to wait at most.
            in_accounts: Wait until sacct knows it too, which takes up to 5 s more.

        Raises:
            LabError: They are not in time; shows what SLURM says of them.
        """
        wanted = {job_ids} if isinstance(job_ids, str) else set(job_ids)
        asks_accounts = in_accounts and self.options.accounting
        try:
            wait_until(
                lambda: self._have_ended(wanted, asks_accounts=asks_accounts),
                f"jobs {sorted(wanted)} end",
                timeout_s,
                interval_s=_WAIT_INTERVAL_S,
            )
        except LabError as error:
            raise LabError(str(error), where=self.describe()) from None

    def describe(self) -> str:
        """Show queue, accounts and the ends of all logs, for a message."""
        commands = [["squeue", "--all", "--states=all"], ["sinfo", "--Node", "--long"]]
        commands += [["sacct", "--allusers"]] if self.options.accounting else []
        answers = []
        for command in commands:
            with contextlib.suppress(CommandFailedError, subprocess.TimeoutExpired):
                answers.append(f"--- {' '.join(command)}\n{self.ask(command)}")
        return "\n".join([*answers, log_tails(self.layout)])

    def make_folder(self, name: str) -> Path:
        """Make a folder of the ordinary user below the home and return it."""
        self.run(["mkdir", "-p", name])
        return self.home / name

    def kill_daemon(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Signal a daemon: `slurmctld`, `slurmdbd`, `slurmd.gl001`, `mariadbd` or `munged`."""
        pid = (self.layout.run / f"{name}.ns-pid").read_text()
        self.run(["kill", f"-{number.value}", pid], as_user=False)

    def cut_power(self, node: str) -> None:
        """Kill a node's daemon and all that its jobs run there, without a word to anyone.

        The oldest first, and again until none is left: a batch script that sees its srun end would
        start the guard, which then outlived its node.
        """
        self.kill_daemon(f"slurmd.{node}")
        hierarchies = cgroups.find_hierarchies()
        ends = time.monotonic() + _TIMEOUT_S
        while left := cgroups.processes_of_node(hierarchies, self.plan.cgroup, node):
            for pid in sorted(left):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() > ends:
                raise LabError(f"processes of {node} do not die: {sorted(left)}")
            time.sleep(0.005)

    def revive(self) -> None:
        """Start the daemons that have ended again."""
        os.kill(self.processes["supervisor"], signal.SIGHUP)

    def _have_ended(self, wanted: Collection[str], *, asks_accounts: bool) -> bool:
        # Jobs that squeue has forgotten ended minutes ago.
        queue = jobs.select(self.squeue(), wanted)
        if not all(jobs.is_terminal(row["state"]) for row in queue):
            return False
        if not asks_accounts:
            return True
        command = jobs.sacct_command(wanted, jobs.SACCT_FIELDS, with_lives=False)
        accounts = jobs.parse_sacct(self.ask(command), jobs.SACCT_FIELDS)
        return jobs.have_ended_in_accounts(queue, accounts)
