"""Attempts that end in every way, on a real SLURM, as an ordinary user: why, and what follows.

The runs of a lab go side by side: a fixture sends them and disturbs them, each test looks at one.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.programs import REPOSITORY
from tests.slurm import Lab, LabOptions, temporary_lab
from tests.slurm.sweeps import job_id, launch, start
from tests.slurm.waiting import wait_until

PROJECT = REPOSITORY / "tests" / "projects" / "endings"
SLURM = ("hydra/launcher=slurm", "hydra.sweep.dir=outputs/s")
RESOURCES = "hydra.launcher.resources"
RECOVERY = "hydra.launcher.recovery"
LONG = "steps=900"
"""Three minutes of steps: longer than any test waits."""
SAFE = "hydra.launcher.exclude='gl[005-006]'"
"""Keeps off the nodes whose power is cut."""


def only(lab: Lab, *nodes: str) -> str:
    """Override that leaves only these nodes."""
    others = [name for name in lab.options.node_names if name not in nodes]
    return f"hydra.launcher.exclude='{','.join(others)}'"


@dataclass(frozen=True)
class Case:
    """One study of one run, or of some."""

    lab: Lab
    folder: Path

    @property
    def study(self) -> Path:
        return self.folder / "outputs" / "s"

    def run_dir(self, number: int = 0) -> Path:
        return self.study / str(number)

    def job(self, number: int = 0) -> str:
        return job_id(self.run_dir(number))

    def issue(self, *overrides: str) -> str:
        """Issue the study's command; returns what it says."""
        done = start(self.lab, self.folder, "app.py", "-m", *SLURM, *overrides)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def launch(self, *words: str) -> str:
        done = launch(self.lab, self.folder, *words)
        assert done.returncode == 0, done.stderr
        return done.stderr + done.stdout

    def status(self) -> list[dict[str, Any]]:
        done = launch(self.lab, self.folder, "status", "--json")
        assert done.returncode == 0, done.stderr
        rows: list[dict[str, Any]] = json.loads(done.stdout)
        return rows

    def verdicts(self, number: int = 0) -> list[dict[str, Any]]:
        """Verdicts in order; all of them have evidence."""
        paths = sorted(self.run_dir(number).glob("attempts/*.verdict.json"))
        found = [json.loads(path.read_text()) for path in paths]
        assert all(verdict["evidence"] for verdict in found)
        return found

    def outcomes(self, number: int = 0) -> list[tuple[str, str]]:
        return [(v["outcome"], v["action"]) for v in self.verdicts(number)]

    def lives(self, number: int = 0) -> list[str]:
        """Attempts of which rank 0 began its task, with the step that each went on from."""
        paths = sorted(self.run_dir(number).glob("began-*-0"))
        return [path.name.removeprefix("began-").removesuffix("-0") for path in paths]

    def wait(self, number: int = 0, timeout_s: float = 150.0) -> str:
        """Wait until the run's job has ended for good; its state."""
        job = self.job(number)
        self.lab.wait([job], timeout_s)
        (state,) = {row["state"] for row in self.lab.squeue() if row["id"] == job}
        return state.partition(" ")[0]

    def wait_until_step(self, step: int = 1, number: int = 0) -> None:
        path = self.run_dir(number) / "steps-0"
        wait_until(lambda: path.exists() and int(path.read_text() or 0) >= step, f"step {step}", 60)

    def log(self) -> str:
        return "\n".join(p.read_text() for p in sorted(self.study.glob(".submitit/*.out")))


def send(lab: Lab, name: str, *overrides: str) -> Case:
    """Send the runs of a new project."""
    folder = lab.make_folder(name)
    for path in PROJECT.rglob("*.*"):
        target = folder / path.relative_to(PROJECT)
        lab.run(["mkdir", "-p", target.parent])
        lab.run(["tee", target], input=path.read_text())
    case = Case(lab, folder)
    case.issue(*overrides)
    return case


NO_GRACE = (
    "PartitionName=now Nodes=ALL PriorityTier=1 PreemptMode=REQUEUE GraceTime=0"
    " MaxTime=4:00:00 State=UP"
)
PREEMPTED = (
    f"{RESOURCES}.gpus=4",
    f"{RESOURCES}.gpus_per_node=4",
    "hydra.launcher.cluster.accelerator=cpu",
)


@pytest.fixture(scope="module")
def lab(permit_slurm: None) -> Iterator[Lab]:
    """A cluster of its own, because nodes and jobs are disturbed."""
    options = LabOptions(nodes=6, grace_time_s=6, kill_wait_s=6, extra_conf=(NO_GRACE,))
    with temporary_lab(options) as running:
        yield running


@pytest.fixture(scope="module")
def cases(lab: Lab) -> dict[str, Case]:
    """All runs of the first lab, sent and disturbed."""
    ours = {
        "limit": send(
            lab, "limit", SAFE, "steps=200", f"{RESOURCES}.timeout_min=1",
            "hydra.launcher.signal_delay_s=30",
        ),
        "late": send(
            lab, "late", SAFE, "how=deaf", _gate(lab), f"{RESOURCES}.timeout_min=1",
            "hydra.launcher.signal_delay_s=30", f"{RECOVERY}.stop_grace_s=300",
        ),
        "power": send(lab, "power", only(lab, "gl005", "gl006"), _gate(lab)),
        "killed": send(
            lab, "it's a \"rank\" 100%", SAFE, "how=kill", "rank=3", "steps=30",
            f"{RESOURCES}.nodes=2", f"{RESOURCES}.gpus_per_node=2",
            "hydra.launcher.cluster.accelerator=cpu",
        ),
        "oom": send(
            lab, "oom", SAFE, "how=oom", "mb=400", "lives=9", f"{RESOURCES}.mem_gb=0.3",
            f"{RECOVERY}.memory_ladder=[{{mem: 3}}]",
        ),
        "scancel": send(lab, "scancel", SAFE, LONG),
        "cancel": send(lab, "cancel", SAFE, LONG),
        "error": send(lab, "error", SAFE, "how=error", "lives=9"),
        "array": send(lab, "array", SAFE, "how=work,kill"),
        "budget": send(lab, "budget", SAFE, "how=kill", "lives=9"),
        "torn": send(
            lab, "torn", SAFE, "how=oom", "mb=400", "lives=9", f"{RESOURCES}.mem_gb=0.3",
            f"{RECOVERY}.memory_ladder=[{{mem: 3}}]", _dying_guard(lab),
        ),
        "twice": send(lab, "twice", SAFE, _gate(lab)),
    }  # fmt: skip
    oom = ours["oom"].job()
    lab.run(["sbatch", "--dependency", f"afterok:{oom}", "--job-name=after-oom", "--wrap=true"])
    _disturb(lab, ours)
    return ours


def _gate(lab: Lab) -> str:
    """Override: the task waits for a file before it ends."""
    return f"gate={lab.home / 'gate'}"


def _open_gate(lab: Lab) -> None:
    lab.run(["touch", lab.home / "gate"])


def _dying_guard(lab: Lab) -> str:
    """Override: in this job scontrol kills who called it before the first change of a job."""
    folder = lab.make_folder("bin")
    script = f"""#!/bin/bash
if [ "$1" = update ] && mkdir {folder}/once; then kill -9 $PPID; exit 1; fi
exec /usr/bin/scontrol "$@"
"""
    lab.run(["tee", folder / "scontrol"], input=script)
    lab.run(["chmod", "+x", folder / "scontrol"])
    return f"hydra.launcher.setup=['export PATH={folder}:$PATH']"


def _disturb(lab: Lab, ours: dict[str, Case]) -> None:
    ours["power"].wait_until_step(3)
    (row,) = (row for row in lab.squeue() if row["id"] == ours["power"].job())
    lab.cut_power(row["nodes"])
    ours["scancel"].wait_until_step()
    lab.run(["scancel", ours["scancel"].job()])
    ours["cancel"].wait_until_step()
    ours["cancel"].launch("cancel", "0")
    (script,) = ours["twice"].study.glob(".submitit/*.sh")
    ours["twice"].wait_until_step()
    second = lab.run(["sbatch", "--parsable", script]).stdout.strip()
    (ours["twice"].folder / "second").write_text(second)
    lab.wait([second])
    wait_until(ours["late"].verdicts, "the time limit of `late`", 120)
    _open_gate(lab)


def test_the_time_limit_is_announced_and_the_run_goes_on_where_it_stopped(
    cases: dict[str, Case],
) -> None:
    case = cases["limit"]
    assert case.wait() == "COMPLETED"
    assert set(case.outcomes()) == {("walltime", "requeue")}
    first = case.verdicts()[0]
    assert first["by"] == "rank 0"
    assert "SIGUSR2" in first["evidence"][0]
    assert len(case.lives()) == len(case.verdicts()) + 1
    began = [int((case.run_dir() / f"began-{a}-0").read_text()) for a in case.lives()]
    assert began == sorted(set(began))
    assert case.status()[0]["state"] == "completed"


def test_a_task_that_does_not_stop_is_ended_before_the_limit_and_goes_on(
    cases: dict[str, Case],
) -> None:
    case = cases["late"]
    assert case.wait() == "COMPLETED"
    assert case.outcomes() == [("walltime", "requeue")]
    assert case.lives() == ["001-000", "001-001"]


def test_a_lost_node_is_named_by_the_next_life_and_costs_nothing_else(
    cases: dict[str, Case],
) -> None:
    case = cases["power"]
    assert case.wait() == "COMPLETED"
    (verdict,) = case.verdicts()
    assert (verdict["outcome"], verdict["action"]) == ("node_failure", "none"), verdict
    assert verdict["by"] == "guard"
    assert any("NODE_FAIL" in s or "lost gl005" in s for s in verdict["evidence"])
    assert case.lives() == ["001-000", "001-001"]
    noted = [path.name for path in case.study.glob("nodes/gl005/*")]
    assert [name.rpartition("001-")[2] for name in noted] == ["000"]


def test_a_killed_rank_ends_all_and_the_run_is_started_once_more(cases: dict[str, Case]) -> None:
    case = cases["killed"]
    assert case.wait() == "COMPLETED"
    assert case.outcomes() == [("crash", "requeue")]
    assert any("task 3: Killed" in sentence for sentence in case.verdicts()[0]["evidence"])
    assert case.lives() == ["001-000", "001-001"]


def test_a_rank_that_eats_too_much_gets_more_under_the_same_job_id(
    lab: Lab, cases: dict[str, Case]
) -> None:
    case = cases["oom"]
    assert case.wait() == "COMPLETED"
    assert case.outcomes() == [("host_oom", "requeue_changed")]
    (verdict,) = case.verdicts()
    assert verdict["adjustments"]["mem_gb"] == pytest.approx(0.9, rel=0.01)
    assert verdict["job_id"] == case.job()
    assert "mem=921M" in lab.scontrol("show", "job", case.job())
    (after,) = (row for row in lab.squeue() if row["name"] == "after-oom")
    lab.wait([after["id"]])
    assert lab.sacct(after["id"])[0]["State"] == "COMPLETED"


def test_scancel_is_final_for_resume_and_for_the_same_command(cases: dict[str, Case]) -> None:
    case = cases["scancel"]
    assert case.wait() == "CANCELLED"
    assert case.outcomes() == [("cancelled", "stop")]
    assert case.status()[0]["state"] == "cancelled"
    assert "nothing to send" in case.launch("resume")
    assert "0 to submit" in case.issue(SAFE, LONG)
    assert case.lives() == ["001-000"]


def test_launch_cancel_is_final(cases: dict[str, Case]) -> None:
    case = cases["cancel"]
    assert case.wait() == "CANCELLED"
    assert case.outcomes() == [("cancelled", "stop")]
    assert case.verdicts()[0]["evidence"][0].startswith("cancelled.json")
    assert "nothing to send" in case.launch("resume")
    assert case.status()[0]["state"] == "cancelled"


def test_an_error_of_the_task_is_never_retried(cases: dict[str, Case]) -> None:
    case = cases["error"]
    assert case.wait() == "FAILED"
    assert case.outcomes() == [("task_error", "stop")]
    row = case.status()[0]
    assert (row["state"], row["reason"]) == ("failed", "ValueError: the task is wrong")
    assert "nothing to send" in case.launch("resume")
    assert case.lives() == ["001-000"]


def test_an_array_element_goes_on_and_the_others_do_not_notice(cases: dict[str, Case]) -> None:
    case = cases["array"]
    assert "_1" in case.job(1)
    assert (case.wait(0), case.wait(1)) == ("COMPLETED", "COMPLETED")
    assert case.outcomes(0) == []
    assert case.outcomes(1) == [("crash", "requeue")]
    assert (case.lives(0), case.lives(1)) == (["001-000"], ["001-000", "001-001"])


def test_a_budget_that_is_spent_is_said_and_the_command_starts_afresh(
    cases: dict[str, Case],
) -> None:
    case = cases["budget"]
    assert case.wait() == "FAILED"
    assert case.outcomes() == [("crash", "requeue"), ("crash", "stop")]
    assert case.verdicts()[1]["note"] == "budget spent: 1 retry after crash, at most 1"
    row = case.status()[0]
    assert row["state"] == "failed"
    assert row["reason"].startswith("crash, budget spent: 1 retry")
    assert "nothing to send" in case.launch("resume")
    again = case.issue(SAFE, "how=kill", "lives=9", "hydra.launcher.dry_run=true")
    assert "1 failed; 1 to submit" in again


def test_a_hold_that_a_dying_guard_left_is_released_by_resume_once(
    lab: Lab, cases: dict[str, Case]
) -> None:
    case = cases["torn"]
    job = case.job()

    def is_held() -> bool:
        facts = lab.scontrol("show", "job", job)
        return "JobState=PENDING" in facts and "held" in facts.lower()

    wait_until(is_held, "the guard was killed", 90)
    (verdict,) = case.verdicts()
    assert verdict["acted"] is None
    said = case.launch("resume")
    assert "1 go on under the same job id" in said
    assert "go on" not in case.launch("resume")
    assert case.job() == job
    assert case.wait() == "COMPLETED"
    assert case.outcomes() == [("host_oom", "requeue_changed")]
    assert case.verdicts()[0]["acted"] is not None


def test_a_second_job_of_the_same_attempt_does_nothing(lab: Lab, cases: dict[str, Case]) -> None:
    case = cases["twice"]
    second = (case.folder / "second").read_text()
    assert lab.sacct(second)[0]["State"] == "FAILED"
    assert f"is job {case.job()}, not {second}" in case.log()
    assert case.wait() == "COMPLETED"
    assert case.lives() == ["001-000"]


@pytest.fixture(scope="module")
def preempted(lab: Lab, cases: dict[str, Case]) -> dict[str, Case]:
    """Runs on nodes that somebody with more priority wants."""
    for name, case in cases.items():
        if name != "torn":  # its own test releases it
            case.wait()
    lab.revive()
    lab.run(["rm", lab.home / "gate"])
    low = ("hydra.launcher.cluster.partition=preempt", "rank=99")
    ours = {
        "grace": send(lab, "grace", *PREEMPTED, *low, only(lab, "gl001"), _gate(lab)),
        "deaf": send(
            lab, "deaf", *PREEMPTED, *low[:1], only(lab, "gl002"), _gate(lab), "how=deaf"
        ),
        "now": send(
            lab, "now", *PREEMPTED, "hydra.launcher.cluster.partition=now", "rank=99",
            only(lab, "gl003"), _gate(lab),
        ),
    }  # fmt: skip
    for case in ours.values():
        case.wait_until_step(2)
    wanted = [
        lab.run(["sbatch", "--parsable", f"--nodelist={node}", "--gres=gpu:4", "--wrap=sleep 1"])
        for node in ("gl001", "gl002", "gl003")
    ]
    lab.wait([done.stdout.strip() for done in wanted])
    _open_gate(lab)
    return ours


@pytest.mark.parametrize("name", ["grace", "now", "deaf"])
def test_a_preempted_run_goes_on_with_grace_without_it_and_when_it_does_not_listen(
    preempted: dict[str, Case], name: str
) -> None:
    case = preempted[name]
    assert case.wait() == "COMPLETED"
    assert [outcome for outcome, _ in case.outcomes()] == ["preempted"]
    assert case.lives() == ["001-000", "001-001"]
    assert case.status()[0]["state"] == "completed"


def test_nothing_is_left_running(lab: Lab, preempted: dict[str, Case]) -> None:
    for case in preempted.values():
        case.wait()
    rows = [row for row in lab.squeue() if row["state"] in ("RUNNING", "PENDING", "COMPLETING")]
    assert rows == []


@pytest.fixture(scope="module")
def poor_lab(permit_slurm: None) -> Iterator[Lab]:
    """No accounts, and preempted jobs get the signal that they asked for."""
    options = LabOptions(
        nodes=2, accounting=False, preempt_user_signal=True, grace_time_s=10, kill_wait_s=6
    )
    with temporary_lab(options) as running:
        yield running


def test_scancel_is_known_also_without_accounts(poor_lab: Lab) -> None:
    case = send(poor_lab, "scancel", LONG)
    case.wait_until_step()
    poor_lab.run(["scancel", case.job()])
    assert case.wait() == "CANCELLED"
    assert case.outcomes() == [("cancelled", "stop")]
    assert "nothing to send" in case.launch("resume")
    assert case.status()[0]["state"] == "cancelled"


def test_a_user_signal_far_from_the_time_limit_is_a_preemption(poor_lab: Lab) -> None:
    low = "hydra.launcher.cluster.partition=preempt"
    case = send(poor_lab, "signal", *PREEMPTED, low, only(poor_lab, "gl001"), "steps=100")
    case.wait_until_step(2)
    poor_lab.run(["sbatch", "--nodelist=gl001", "--gres=gpu:4", "--wrap=sleep 3"])
    assert case.wait() == "COMPLETED"
    (verdict,) = case.verdicts()
    assert (verdict["outcome"], verdict["action"]) == ("preempted", "requeue")
    assert verdict["by"] == "rank 0"


def test_a_slurmctld_that_is_away_is_waited_for(poor_lab: Lab) -> None:
    case = send(poor_lab, "away", "how=kill")
    wait_until(case.lives, "the task has begun", 60)
    poor_lab.kill_daemon("slurmctld", signal.SIGTERM)
    time.sleep(12)
    poor_lab.revive()
    assert case.wait() == "COMPLETED"
    assert case.outcomes() == [("crash", "requeue")]
    assert case.lives() == ["001-000", "001-001"]
