"""The page of `launch report` as an artifact by reference: `-m launcher.tracking.page STUDY`.

It hangs on a run of its own, which belongs to no group, so that it is no run of the study.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

from launcher.tracking.card import Card
from launcher.tracking.showing import Shown
from launcher.tracking.wandb_run import WandbRun, in_one_line

PAGE = Path("report") / "index.html"
"""Below the folder of the study."""
LAUNCH_S = 120.0
_ILLEGAL = re.compile(r"[^\w.-]+")


def publish(study: Path, shown: Shown) -> str:
    """Name the page of a study to W&B, if there is one; returns what went wrong."""
    if not (study / PAGE).is_file():
        return ""
    # W&B's library is given the folder that the page is named from as its own.
    command = [sys.executable, "-m", "launcher.tracking.page", str(study.absolute())]
    command += ["--project", shown.project, "--entity", shown.entity, "--name", shown.study]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=LAUNCH_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"W&B took more than {LAUNCH_S:g} s"
    return "" if done.returncode == 0 else " ".join(done.stderr.strip().splitlines()[-1:])


def main(arguments: list[str] | None = None) -> None:
    """Do it in this process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("study", type=Path)
    parser.add_argument("--project", required=True)
    parser.add_argument("--entity", required=True)
    parser.add_argument("--name", required=True)
    given = parser.parse_args(arguments)
    os.umask(0o077)
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
