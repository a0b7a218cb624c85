"""The page of `launch report` as an artifact by reference: `-m launcher.tracking.page STUDY`.

It hangs on a run of its own, which belongs to no group, so that it is no run of the study.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

from launcher.tracking import syncing
from launcher.tracking.card import Card
from launcher.tracking.showing import Shown
from launcher.tracking.wandb_run import WandbRun, in_one_line

PAGE = Path("report") / "index.html"
"""Below the folder of the study."""
WITHIN_S = 120.0
"""How long W&B may take [s]."""
_ILLEGAL = re.compile(r"[^\w.-]+")


def publish(study: Path, shown: Shown) -> str:
    """Name the page of a study to W&B, if there is one; returns what went wrong."""
    if not (study / PAGE).is_file():
        return ""
    # W&B's library is given the folder that the page is named from as its own.
    command = [sys.executable, "-m", "launcher.tracking.page", str(study.absolute())]
    command += ["--project", shown.project, "--entity", shown.entity, "--name", shown.study]
    return syncing.call(command, dict(os.environ), only_failures=True, timeout_s=WITHIN_S)


def main(arguments: list[str] | None = None) -> None:
    """Do it in this process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("study", type=Path)
    parser.add_argument("--project", required=True)
    parser.add_argument("--entity", required=True)
    parser.add_argument("--name", required=True)
    given = parser.parse_args(arguments)
    os.umask(0o077)
    os.environ["WANDB_ERROR_REPORTING"] = "false"
    os.chdir(given.study.parents[1])
    name = f"report-{_ILLEGAL.sub('-', given.name)}"[:128]
    card = Card(
        id=name,
        name=f"report of {given.name}",
        group="",
        job_type="report",
        project=given.project,
        entity=given.entity,
    )
    try:
        run = WandbRun(card, given.study / "dashboard", is_online=True)
        run.keep(given.study / PAGE, name, "report", study=given.name)
        run.close(exit_code=0)
    except Exception as error:  # told in one line to the command that wants it
        sys.exit(in_one_line(error))


if __name__ == "__main__":
    main()
