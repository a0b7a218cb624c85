"""A job that syncs a study when its runs have ended: `launch sync STUDY --job`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from launcher.errors import LauncherError
from launcher.files import write_bytes
from launcher.scheduler.client import SlurmClient
from launcher.states import FINAL, RunStatus
from launcher.studies import Study
from launcher.tracking.syncing import require_key

LOG = "sync-%j.log"
TIMEOUT_MIN = 120
"""It goes on until runs that were sent again have ended too, but no longer than this."""
_MEM_GB = 2


def submit(
    study: Study, statuses: Sequence[RunStatus], partition: str | None
) -> tuple[str, list[str]]:
    """Send the job; returns its id and those that it waits for.

    Args:
        study: What it syncs.
        statuses: How its runs stand.
        partition: One whose nodes have a way out; None takes SLURM's default.

    Raises:
        LauncherError: the study is not on SLURM, nobody has a key, or SLURM refuses the job.
    """
    record = study.record
    require_key()
    if record.scheduler != "slurm":
        raise LauncherError(
            f"the runs of `{study.path.name}` are not jobs of SLURM that another could wait for",
            hint=f"launch sync {study.path.name} --watch",
        )
    active = [status for status in statuses if status.state not in FINAL and status.job_id]
    waited_for = list(dict.fromkeys(status.job_id.partition("_")[0] for status in active))
    path = study.path.absolute() / "sync.sh"
    write_bytes(path, script(study.path.absolute()).encode())
    client = SlurmClient(variables=dict(record.environment))
    words = [*options(study.path.absolute(), waited_for, partition), str(path)]
    return client.sbatch(words, f"sync of {study.path.name}"), waited_for


def script(study: Path) -> str:
    """The batch script of the job; it has the environment of the command that sends it."""
    program = [sys.executable, "-c", "from launcher.cli import main; main()"]
    command = [*program, "sync", "--study", study.name, "--root", str(study.parent), "--watch"]
    return f"#!/bin/bash\ncd {shlex.quote(str(Path.cwd()))}\nexec {shlex.join(command)}\n"


def options(study: Path, waited_for: Sequence[str], partition: str | None) -> list[str]:
    """Of sbatch."""
    found = {
        "job-name": f"sync-{study.name}",
        "ntasks": 1,
        "cpus-per-task": 1,
        "mem": f"{_MEM_GB}G",
        "time": TIMEOUT_MIN,
        "output": str(study).replace("%", "%%") + f"/{LOG}",
        "partition": partition,
        "dependency": f"afterany:{':'.join(waited_for)}" if waited_for else None,
    }
    return [f"--{name}={value}" for name, value in found.items() if value is not None]
