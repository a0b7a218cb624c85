"""Sweeps as the lab's ordinary user starts them, and what they leave."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.programs import PLAIN_PROJECT
from tests.slurm import Lab, jobs
from tests.slurm.waiting import wait_until


def start(lab: Lab, folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run `python ARGUMENTS` as the lab's ordinary user and wait for it."""
    command = [sys.executable, *map(str, arguments)]
    environment = {"LAUNCHER_LAB": str(lab.directory)}
    return lab.run(command, cwd=folder, env=environment, timeout_s=900, check=False)


def launch(lab: Lab, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `launch ARGUMENTS` as the lab's ordinary user."""
    return start(lab, folder, Path(sys.executable).with_name("launch"), *arguments)


def copy_project(lab: Lab, name: str) -> Path:
    """A copy of the plain project, owned by the lab's user."""
    folder = lab.make_folder(name)
    for path in PLAIN_PROJECT.rglob("*.*"):
        target = folder / path.relative_to(PLAIN_PROJECT)
        lab.run(["mkdir", "-p", target.parent])
        lab.run(["tee", target], input=path.read_text())
    return folder


def job_ids(study: Path) -> dict[str, str]:
    """Run name -> job id, of the runs and what they require."""
    declared = json.loads((study / "study.json").read_text())
    entries = declared["prerequisites"] + declared["runs"]
    return {entry["name"]: job_id(study / entry["run_dir"]) for entry in entries}


def job_id(run_dir: Path) -> str:
    """Job id of the latest sending of a run."""
    sent = json.loads(sorted(run_dir.glob("submissions/*/submission.json"))[-1].read_text())
    batch = json.loads((run_dir / sent["batch"]).read_text())
    (part,) = (p for p in batch["parts"] if p["first"] <= sent["index"] <= p["last"])
    is_array = len(batch["submissions"]) > 1
    return f"{part['job_id']}_{sent['index']}" if is_array else str(part["job_id"])


def wait_until_running(lab: Lab, job_id: str) -> None:
    """Return when SLURM has started a job."""
    wait_until(
        lambda: any(row["state"] == "RUNNING" for row in jobs.select(lab.squeue(), {job_id})),
        f"job {job_id} runs",
        timeout_s=60,
    )


def verdicts(run_dir: Path) -> list[dict[str, Any]]:
    """How the lives of a run ended that did not complete it."""
    found = sorted(run_dir.glob("attempts/*.verdict.json"))
    return [json.loads(path.read_text()) for path in found]


def story(lab: Lab, run_dir: Path, job_id: str) -> str:
    """All that was written of one run, for the message of a test that it failed."""
    files = [*sorted(run_dir.glob("attempts/*.json")), *sorted(run_dir.glob("cancelled.json"))]
    files += sorted(run_dir.parent.glob(f".submitit/{job_id}_*_log.*"))
    parts = [f"--- {path}\n{path.read_text(errors='replace')}" for path in files]
    rows = jobs.select(lab.squeue(), {job_id})
    names = {f"JobId={name}" for row in rows for name in (row["id"], row["raw_id"])}
    log = (lab.layout.log / "slurmctld.log").read_text(errors="replace").splitlines()
    # `JobId=19` is not `JobId=190`, and `190_0(191)` is `190_0`.
    said = [line for line in log if names & set(re.split(r"[ ,:()]", line))]
    return "\n".join([*parts, "--- slurmctld.log", *said])
