"""A run that W&B tracks offline, interrupted three times by a real SLURM, reads back as one."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.tracking import fragments, journal
from launcher.tracking.fragments import Fragment
from tests.programs import REPOSITORY
from tests.slurm import Lab, LabOptions, temporary_lab
from tests.slurm.sweeps import job_id, verdicts
from tests.slurm.waiting import wait_until
from tests.wandb_server import serving

PROJECT = REPOSITORY / "tests" / "projects" / "tracked"
STEPS = 150
KEY = "5ec2e7" * 6 + "5ec2"


@pytest.fixture(scope="module")
def lab(permit_slurm: None) -> Iterator[Lab]:
    """A cluster of its own, as its jobs are disturbed."""
    with temporary_lab(LabOptions(nodes=2, grace_time_s=6, kill_wait_s=6)) as running:
        yield running


@pytest.fixture(scope="module")
def run_dir(lab: Lab) -> Path:
    """Of a run that was killed at step 25, and requeued twice while it trained."""
    folder = copy_tracked(lab, "tracked")
    command = [
        "python", "app.py", "-m", "hydra/launcher=slurm", "hydra.sweep.dir=outputs/s",
        f"steps={STEPS}", "step_s=0.3", "signals=[[25,SIGKILL]]",
    ]  # fmt: skip
    lab.run(command, cwd=folder, env=_environment(lab), timeout_s=300)
    found = folder / "outputs" / "s" / "0"
    job = job_id(found)
    for number, step in ((1, 50), (2, 90)):
        _wait_until_step(found, step, f"001-{number:03d}")
        lab.scontrol("requeue", job)
    lab.wait([job], 400)
    return found


def copy_tracked(lab: Lab, name: str) -> Path:
    """A copy of the project, owned by the lab's user."""
    folder = lab.make_folder(name)
    for path in PROJECT.rglob("*.*"):
        target = folder / path.relative_to(PROJECT)
        lab.run(["mkdir", "-p", target.parent])
        lab.run(["tee", target], input=path.read_text())
    return folder


def _environment(lab: Lab) -> dict[str, str]:
    paths = [str(REPOSITORY), os.environ.get("PYTHONPATH")]
    return {
        "LAUNCHER_LAB": str(lab.directory),
        "WANDB_API_KEY": KEY,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }


def _wait_until_step(run_dir: Path, step: int, attempt: str) -> None:
    def is_there() -> bool:
        rows = journal.read(run_dir / "tracking" / journal.NAME)
        return bool(rows) and rows[-1].step >= step and rows[-1].attempt == attempt

    wait_until(is_there, f"step {step} of {attempt}", 200)


@pytest.fixture(scope="module")
def told(run_dir: Path) -> list[Fragment]:
    return fragments.of_run(run_dir / "tracking")


def test_it_reads_back_as_one_run(run_dir: Path, told: list[Fragment]) -> None:
    key = json.loads((run_dir / "tracking" / "card.json").read_text())["id"]
    assert len(verdicts(run_dir)) == 3
    assert {fragment.run_id for fragment in told} == {key}
    assert [step for fragment in told for step in fragment.steps] == list(range(STEPS))
    configs = [{k: v for k, v in f.config.items() if k != "_wandb"} for f in told]
    assert all(config["steps"] == STEPS for config in configs)
    assert configs[0]["slurm"]["job_id"]


def test_its_lives_and_its_end_are_told(run_dir: Path, told: list[Fragment]) -> None:
    lives = [life["outcome"] for life in told[-1].summary["lives"]]
    assert lives == [*(verdict["outcome"] for verdict in verdicts(run_dir)), "completed"]
    assert told[-1].exit_code == 0


def test_a_planted_key_is_in_no_file_of_the_study(run_dir: Path) -> None:
    files = [path for path in run_dir.parent.rglob("*") if path.is_file()]
    assert {".pkl", ".wandb", ".sh"} <= {path.suffix for path in files}
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


def test_a_job_syncs_what_runs_have_left_when_they_have_ended(lab: Lab) -> None:
    folder = copy_tracked(lab, "followed")
    with serving() as server:
        environment = {**_environment(lab), "WANDB_BASE_URL": server.url}
        command = [
            "python", "app.py", "-m", "hydra/launcher=slurm", "hydra.sweep.dir=outputs/100% s",
            "steps=30,40", "step_s=0.2",
        ]  # fmt: skip
        lab.run(command, cwd=folder, env=environment, timeout_s=300)
        launch = ["python", "-c", "from launcher.cli import main; main()"]
        done = lab.run([*launch, "sync", "--job"], cwd=folder, env=environment)
        (sent,) = re.findall(r"job (\d+) syncs", done.stderr)
        assert "waits for" in done.stderr
        lab.wait([sent], 300)
        log = folder / "outputs" / "100% s" / f"sync-{sent}.log"
        assert log.read_text().count("synced") >= 2
        told = sorted([row["_step"] for row in run.rows] for run in server.runs.values())
        assert told == [list(range(30)), list(range(40))]


def test_whoever_follows_a_run_at_wandb_is_alerted_when_it_is_given_up(lab: Lab) -> None:
    folder = copy_tracked(lab, "given up")
    with serving() as server:
        environment = {**_environment(lab), "WANDB_BASE_URL": server.url}
        command = [
            "python", "app.py", "-m", "hydra/launcher=slurm", "hydra.sweep.dir=outputs/s",
            "steps=40", "step_s=0.2", "signals=[[25,SIGKILL]]", "tracking.wandb.mode=online",
            "hydra.launcher.recovery.retries.crash=0",
        ]  # fmt: skip
        lab.run(command, cwd=folder, env=environment, timeout_s=300)
        run_dir = folder / "outputs" / "s" / "0"
        lab.wait([job_id(run_dir)], 300)
        (verdict,) = verdicts(run_dir)
        assert verdict["action"] == "stop"
        (alert,) = server.alerts
        assert alert["text"].startswith("crash: ")
        (received,) = server.runs.values()
        assert [row["_step"] for row in received.rows] == list(range(24))
        assert received.exit_codes[-1] == 1
