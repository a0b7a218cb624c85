"""Asks the SLURM of this machine what the site is."""

from __future__ import annotations

import getpass
import shutil
from dataclasses import dataclass, field, replace

from launcher.errors import SubmissionError
from launcher.scheduler.client import Answer, SlurmClient
from launcher.sites import reading
from launcher.sites.facts import Accounts, Site

_COMMANDS = ("sinfo", "scontrol", "sbatch")
_ASSOC = "Cluster,Account,User,Partition,QOS,DefaultQOS,MaxSubmit,MaxTRES,MaxWall"
_QOS = "Name,Preempt,GraceTime,MaxWall,MaxTRES,MaxTRESPU,MaxSubmitPU"


@dataclass(frozen=True, kw_only=True)
class Asker:
    """Puts questions to SLURM; the answers are those of this user on this machine."""

    client: SlurmClient = field(default_factory=SlurmClient)
    user: str = field(default_factory=getpass.getuser)

    def site(self) -> Site:
        """All that the site says of itself.

        Raises:
            SubmissionError: there is no SLURM on this machine, or it does not answer.
        """
        site = self.structure()
        return replace(
            site,
            accounts=self.accounts(site.settings.get("ClusterName")),
            has_accounting=self._says("sacct", "--noheader", "--starttime=now") is not None,
        )

    def structure(self) -> Site:
        """Settings, partitions and nodes alone: what slurmctld knows.

        Raises:
            SubmissionError: there is no SLURM on this machine, or it does not answer.
        """
        require_commands()
        settings = reading.settings(self._must("scontrol", "show", "config"))
        partitions = reading.records(self._must("scontrol", "--oneliner", "show", "partition"))
        nodes = reading.records(self._must("scontrol", "--oneliner", "show", "node"))
        return Site(
            version=settings.get("SLURM_VERSION", "unknown"),
            settings=settings,
            partitions=tuple(reading.partition(record) for record in partitions),
            nodes=tuple(reading.node(record) for record in nodes),
        )

    def accounts(self, cluster: str | None = None) -> Accounts | None:
        """What the accounts know of this user, on one cluster or on all that share them.

        Returns:
            None where there are no accounts, or no answer.
        """
        user = f"user={self.user}"
        shown = self._says("sacctmgr", "-P", "show", "assoc", "where", user, f"format={_ASSOC}")
        if shown is None:
            return None
        users = self._says(
            "sacctmgr", "-P", "show", "user", self.user, "format=User,DefaultAccount"
        )
        qos = self._says("sacctmgr", "-P", "show", "qos", f"format={_QOS}")
        return reading.accounts(shown, users or "", qos or "", cluster)

    def test(self, *options: str) -> str | None:
        """Why `sbatch --test-only` refuses a job of one minute, or None if it takes it."""
        script = "#!/bin/bash\ntrue\n"
        asked = ["sbatch", "--test-only", "--nodes=1", "--ntasks=1", "--time=1", *options]
        done = self.client.run(asked, text=script, submits=True)
        return None if done.returncode == 0 else done.reason or "no reason given"

    def _must(self, *command: str) -> str:
        done = self.client.run(list(command))
        if done.returncode != 0:
            raise SubmissionError(
                f"SLURM does not answer: {command[0]}: {done.reason}",
                hint="try `sinfo` by hand; is slurmctld up, and does SLURM_CONF point to it?",
            )
        return done.stdout

    def _says(self, *command: str) -> str | None:
        """The answer of a command that a site may lack, or that may refuse; None for none."""
        if shutil.which(command[0]) is None:
            return None
        # sacct and sacctmgr go on for minutes where slurmdbd is down.
        done: Answer = self.client.run(["timeout", "20", *command])
        return done.stdout if done.returncode == 0 else None


def require_commands() -> None:
    """Raise SubmissionError where the commands are missing that find out what a site is."""
    missing = [f"`{name}`" for name in _COMMANDS if shutil.which(name) is None]
    if missing:
        raise SubmissionError(
            f"there is no SLURM on this machine: {', '.join(missing)} not on the PATH",
            hint="ask on a login node of the cluster",
        )
