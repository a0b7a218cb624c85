"""A job of a minute that looks what cannot be known from a login node."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from launcher.errors import SubmissionError
from launcher.scheduler.client import SlurmClient

PATIENCE_S = 300.0
"""How long to wait for the job [s]."""
LOOK_EVERY_S = 2.0
NET_FILE_S = 15.0
"""How long a file of a node may take until this machine sees it [s]."""
TRACKER = "api.wandb.ai"


@dataclass(frozen=True, kw_only=True)
class Tried:
    """What the job saw; null where it did not say."""

    node: str | None = None
    is_shared: bool | None = None
    """Whether this machine sees a file that the node wrote."""
    has_internet: bool | None = None
    """Whether the node reaches Weights & Biases."""
    names_resolve: bool | None = None
    """Whether the node knows the addresses of other nodes."""
    unresolved: tuple[str, ...] = ()


def script(folder: Path, nodes: list[str]) -> str:
    """The batch script; what it finds it writes into `folder`, one `key=value` a line."""
    report = shlex.quote(str(folder / "node.txt"))
    names = " ".join(shlex.quote(name) for name in nodes)
    return f"""#!/bin/bash
{{
echo "node=${{SLURMD_NODENAME:-$(hostname)}}"
if curl -s -o /dev/null --max-time 10 https://{TRACKER} ||
   timeout 10 bash -c 'exec 3<>/dev/tcp/{TRACKER}/443'
then echo internet=1
else echo internet=0
fi
for name in {names}; do
  getent hosts "$name" >/dev/null || echo "unresolved=$name"
done
echo done=1
}} >{report} 2>/dev/null
"""


def read(text: str) -> Tried:
    """Understand the report; one without an end says nothing."""
    if "done=1" not in text:
        return Tried()
    found = dict(re.findall(r"^(node|internet)=(.*)$", text, re.MULTILINE))
    unresolved = tuple(re.findall(r"^unresolved=(.*)$", text, re.MULTILINE))
    return Tried(
        node=found.get("node"),
        is_shared=True,
        has_internet=found.get("internet") == "1",
        names_resolve=not unresolved,
        unresolved=unresolved,
    )


def run(
    client: SlurmClient,
    folder: Path,
    options: list[str],
    nodes: list[str],
    *,
    patience_s: float = PATIENCE_S,
    sleep: Callable[[float], None] = time.sleep,
) -> Tried:
    """Send the job, wait for it, and read what it wrote.

    Args:
        client: Whom to ask.
        folder: Folder that nodes should share with this machine.
        options: Options of sbatch: partition, account.
        nodes: Nodes whose names it looks up.
        patience_s: How long to wait for it [s]; then it is cancelled.
        sleep: Waits.

    Raises:
        SubmissionError: SLURM refused the job, or it did not end in time.
    """
    log = str(folder / "node.log").replace("%", "%%")
    asked = ["sbatch", "--parsable", "--nodes=1", "--ntasks=1", "--time=2", f"--output={log}"]
    done = client.run([*asked, *options], text=script(folder, nodes), submits=True)
    if done.returncode != 0:
        raise SubmissionError(f"sbatch refused the job that looks at a node: {done.reason}")
    job_id = done.stdout.strip().partition(";")[0]
    _wait(client, job_id, patience_s, sleep)
    report = folder / "node.txt"
    until = time.monotonic() + NET_FILE_S
    while not report.exists() and time.monotonic() < until:
        sleep(LOOK_EVERY_S)
    return read(report.read_text()) if report.exists() else Tried(is_shared=False)


def _wait(
    client: SlurmClient, job_id: str, patience_s: float, sleep: Callable[[float], None]
) -> None:
    until = time.monotonic() + patience_s
    while True:
        if all(row.job_id != job_id for row in client.queue()):
            return
        if time.monotonic() > until:
            client.run(["scancel", job_id])
            raise SubmissionError(
                f"the job that looks at a node did not end within {patience_s:.0f} s",
                hint="leave out --try-node, or try when there are free nodes",
            )
        sleep(LOOK_EVERY_S)
