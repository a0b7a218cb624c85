"""Runs on this machine survive what runs on a cluster survive, by the same policy."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from launcher import beats, confine
from launcher.records import CancelRecord
from tests.programs import REPOSITORY, run

pytestmark = pytest.mark.local

TOUGH_PROJECT = REPOSITORY / "tests" / "projects" / "tough"
CONTROLLER = ["-m", "launcher.controller"]
WITHOUT_CGROUP = [
    "-c",
    "import sys; from launcher import confine, controller;"
    " confine.Cgroup.make = lambda *limit: None; sys.exit(controller.main())",
]
LAUNCH = Path(sys.executable).with_name("launch")


def wait_until(condition: Callable[[], Any], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def command(lives: str, *overrides: str) -> list[str]:
    return [
        "app.py", "-m", "hydra/launcher=local", "hydra.sweep.dir=outputs/s",
        f"lives={lives}", "hydra.launcher.key_exclude=[hydra,lives]", *overrides,
    ]  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TOUGH_PROJECT, tmp_path / "project"))


def lives(run_dir: Path) -> list[str]:
    return (run_dir / "lives.txt").read_text().splitlines()


def verdicts(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(p.read_text()) for p in sorted(run_dir.glob("attempts/*.verdict.json"))]


def outcomes(run_dir: Path) -> list[tuple[str, str]]:
    return [(verdict["outcome"], verdict["action"]) for verdict in verdicts(run_dir)]


def attempt(run_dir: Path, name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((run_dir / "attempts" / f"{name}.json").read_text())
    return value


def status(project: Path) -> dict[str, Any]:
    done = run(LAUNCH, "status", "--json", cwd=project)
    (row,) = json.loads(done.stdout)
    assert isinstance(row, dict)
    return row


class Frozen:
    """A run that was frozen, and is started again and again with another shape or policy."""

    def __init__(self, project: Path) -> None:
        done = run(*command("[]"), cwd=project)
        assert done.returncode == 0, done.stderr
        self.project = project
        self.run_dir = project / "outputs" / "s" / "0"
        self.batch = next(project.glob("outputs/s/.submitit/local-*/batch.pkl"))
        (self.attempt,) = pickle.loads(self.batch.read_bytes())
        self.submission = self.run_dir / "submissions" / "001" / "submission.json"
        self.sent = self.submission.read_text()
        self.python_path = [*json.loads(self.sent)["python_path"], str(REPOSITORY)]
        self.config = Path(self.attempt.config).read_bytes()

    def reset(self) -> None:
        """As it was when it was sent."""
        for name in ("attempts", "checkpoints"):
            shutil.rmtree(self.run_dir / name, ignore_errors=True)
        for name in ("lives.txt", "cancelled.json", "hidden.pid"):
            (self.run_dir / name).unlink(missing_ok=True)

    def start(self, *what: str, **changes: Any) -> subprocess.Popen[bytes]:
        """Start its controller; in its lives it does `what`.

        Args:
            what: Names of deeds.
            changes: `lead_s`, `config`, `recovery`, `controller`, and parts of its shape.
        """
        lead_s, config = changes.pop("lead_s", 0.0), changes.pop("config", {})
        recovery, controller = changes.pop("recovery", {}), changes.pop("controller", CONTROLLER)
        self._freeze(what, config, recovery, changes.get("mem_gb"))
        changed = replace(
            self.attempt,
            shape=replace(self.attempt.shape, **changes),
            lead_s=lead_s,
            recovery=replace(self.attempt.recovery, **recovery),
        )
        batch = self.batch.with_name("again.pkl")
        batch.write_bytes(pickle.dumps([changed]))
        return subprocess.Popen(
            [sys.executable, *controller, str(batch)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(self.python_path)},
            start_new_session=True,
        )

    def _freeze(
        self, what: tuple[str, ...], config: dict[str, Any], recovery: dict[str, Any], mem_gb: Any
    ) -> None:
        frozen = pickle.loads(self.config)
        for key, value in {**config, "lives": list(what)}.items():
            frozen[key] = value
        Path(self.attempt.config).write_bytes(pickle.dumps(frozen))
        sent = json.loads(self.sent)
        sent["recovery"].update(recovery)
        sent["shape"]["mem_gb"] = mem_gb
        self.submission.write_text(json.dumps(sent))

    def live(self, *what: str, **changes: Any) -> int:
        """Its lives to their end; returns the exit code of the controller."""
        controller = self.start(*what, **changes)
        try:
            return controller.wait(timeout=90)
        finally:
            controller.kill()
            controller.wait()


@pytest.fixture(scope="module")
def frozen_once(tmp_path_factory: pytest.TempPathFactory) -> Frozen:
    return Frozen(Path(shutil.copytree(TOUGH_PROJECT, tmp_path_factory.mktemp("t") / "project")))


@pytest.fixture
def frozen(frozen_once: Frozen) -> Iterator[Frozen]:
    frozen_once.reset()
    yield frozen_once
    frozen_once.reset()


def test_a_run_that_saves_in_time_goes_on_after_its_time_limit(frozen: Frozen) -> None:
    assert frozen.live("train", timeout_min=0.2, lead_s=6) == 0
    assert outcomes(frozen.run_dir) == [("walltime", "requeue")]
    first = attempt(frozen.run_dir, "001-000")
    assert (first["stop_signal"], first["saved_step"]) == ("SIGUSR2", 1)
    assert attempt(frozen.run_dir, "001-001")["result"]["resumed"] == 1


def test_a_run_that_does_not_listen_is_ended_at_its_limit_and_goes_on(frozen: Frozen) -> None:
    assert frozen.live("deaf", timeout_min=0.05) == 0
    assert outcomes(frozen.run_dir) == [("walltime", "requeue")]


def test_a_killed_rank_is_tried_once_more(frozen: Frozen) -> None:
    assert frozen.live("crash") == 0
    assert outcomes(frozen.run_dir) == [("crash", "requeue")]
    assert "signal 9" in " ".join(verdicts(frozen.run_dir)[0]["evidence"])


def test_a_run_that_somebody_else_asks_to_stop_saves_and_goes_on(frozen: Frozen) -> None:
    controller = frozen.start("train", timeout_min=5)
    try:
        wait_until((frozen.run_dir / "lives.txt").exists)
        beat = beats.read(frozen.run_dir, "001-000")[0]
        os.kill(beat.pid, signal.SIGTERM)
        assert controller.wait(timeout=90) == 0
    finally:
        controller.kill()
        controller.wait()
    assert outcomes(frozen.run_dir) == [("preempted", "requeue")]
    said = " ".join(verdicts(frozen.run_dir)[0]["evidence"])
    assert "not by this controller" in said
    assert "SIGTERM" in said
    assert attempt(frozen.run_dir, "001-001")["result"]["resumed"] >= 1


def test_a_rank_that_is_killed_twice_is_not_tried_for_ever(frozen: Frozen) -> None:
    assert frozen.live("crash", "crash", "crash") == 1
    assert outcomes(frozen.run_dir) == [("crash", "requeue"), ("crash", "stop")]


def test_lives_without_progress_come_to_an_end(frozen: Frozen) -> None:
    recovery = {"retries": {}, "max_without_progress": 2}
    assert frozen.live("crash_early", "crash_early", "crash_early", recovery=recovery) == 1
    assert [action for _, action in outcomes(frozen.run_dir)] == ["requeue", "stop"]


def test_a_mistake_of_the_task_is_not_retried(frozen: Frozen) -> None:
    assert frozen.live("fail") == 1
    assert len(lives(frozen.run_dir)) == 1
    assert attempt(frozen.run_dir, "001-000")["outcome"] == "task_error"


@pytest.mark.parametrize("start", [CONTROLLER, WITHOUT_CGROUP], ids=["cgroup", "watched"])
def test_with_too_little_memory_it_climbs_the_ladder(frozen: Frozen, start: list[str]) -> None:
    greedy = {"config": {"mem_mb": 300}, "mem_gb": 0.3, "controller": start}
    assert frozen.live("host_memory", "host_memory", "host_memory", **greedy) == 0
    assert outcomes(frozen.run_dir)[0] == ("host_oom", "requeue_changed")
    first = verdicts(frozen.run_dir)[0]
    assert first["adjustments"]["mem_gb"] == pytest.approx(0.45)
    assert "limited to 0.3 GB" in " ".join(first["evidence"])


def test_with_too_little_gpu_memory_the_micro_batch_is_halved(frozen: Frozen) -> None:
    assert frozen.live("gpu_memory", "gpu_memory", recovery={"micro_batch_key": "batch"}) == 0
    assert [line.partition("=")[2] for line in lives(frozen.run_dir)] == ["8", "4", "2"]
    assert outcomes(frozen.run_dir) == [("gpu_oom", "requeue_changed")] * 2


def test_when_one_rank_dies_the_others_do_not_wait_for_it(frozen: Frozen) -> None:
    before = time.monotonic()
    assert frozen.live("last_rank_crashes", ranks_per_node=2) == 0
    assert time.monotonic() - before < 30
    assert outcomes(frozen.run_dir) == [("crash", "requeue")]
    assert "rank 1" in " ".join(verdicts(frozen.run_dir)[0]["evidence"])


def test_a_cancelled_run_stays_cancelled(frozen: Frozen) -> None:
    controller = frozen.start("train")
    wait_until((frozen.run_dir / "lives.txt").exists)
    marker = CancelRecord(number=1, time="2026-01-01T00:00:00+00:00").model_dump_json()
    (frozen.run_dir / "cancelled.json").write_text(marker)
    controller.terminate()
    assert controller.wait(timeout=30) == 1
    assert outcomes(frozen.run_dir) == [("cancelled", "stop")]


def test_nothing_outlives_a_controller_that_is_killed(frozen: Frozen) -> None:
    controller = frozen.start("daemon", mem_gb=1.0)
    hidden = frozen.run_dir / "hidden.pid"
    wait_until(lambda: hidden.exists() and hidden.read_text())
    below = psutil.Process(controller.pid).children(recursive=True)
    assert int(hidden.read_text()) in [process.pid for process in below]
    controller.kill()
    controller.wait()
    _, alive = psutil.wait_procs(below, timeout=15)
    assert not alive
    assert verdicts(frozen.run_dir) == []


def test_nothing_outlives_a_run_that_has_ended(frozen: Frozen) -> None:
    controller = frozen.start("daemon", timeout_min=0.05, recovery={"max_attempts": 1})
    hidden = frozen.run_dir / "hidden.pid"
    wait_until(lambda: hidden.exists() and hidden.read_text())
    process = int(hidden.read_text())
    assert controller.wait(timeout=60) == 1
    assert not psutil.pid_exists(process)


def test_without_a_cgroup_the_largest_process_is_killed_when_all_hold_too_much() -> None:
    code = "import os, time; held = os.urandom({} << 20); time.sleep(60)"
    processes = [subprocess.Popen([sys.executable, "-c", code.format(size)]) for size in (10, 150)]
    watchdog = confine.Watchdog(mem_gb=0.1)
    try:
        deadline = time.monotonic() + 30
        while not watchdog.kills() and time.monotonic() < deadline:
            watchdog.look(lambda: [psutil.Process(process.pid) for process in processes])
            time.sleep(0.1)
        assert processes[1].wait(timeout=5) == -signal.SIGKILL
        assert processes[0].poll() is None
        assert "no cgroup can be made here" in watchdog.how()
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_the_same_command_goes_on_after_the_controller_was_killed(project: Path) -> None:
    shell = subprocess.Popen(
        [sys.executable, *command("[deaf]")], cwd=project, stderr=subprocess.PIPE, text=True
    )
    run_dir = project / "outputs" / "s" / "0"
    try:
        wait_until(lambda: list(run_dir.glob("checkpoints/*/*/*.json")))
        os.kill(int(attempt(run_dir, "001-000")["job_id"]), signal.SIGKILL)
        _, said = shell.communicate(timeout=60)
    finally:
        shell.kill()
        shell.wait()
    assert shell.returncode == 1
    assert "left no outcome" in said
    again = run(*command("[]"), cwd=project)
    assert again.returncode == 0, again.stderr
    assert attempt(run_dir, "002-000")["result"]["resumed"] == 1


def test_a_run_outlives_the_command_that_is_killed_and_the_same_command_follows_it(
    project: Path,
) -> None:
    shell = subprocess.Popen([sys.executable, *command("[slow]")], cwd=project)
    run_dir = project / "outputs" / "s" / "0"
    try:
        wait_until((run_dir / "lives.txt").exists)
    finally:
        shell.kill()
        shell.wait()
    again = run(*command("[slow]"), cwd=project)
    assert again.returncode == 0, again.stderr
    assert "1 running; 0 to submit" in again.stderr
    assert len(lives(run_dir)) == 1


def test_ctrl_c_stops_at_a_safe_point_and_the_same_command_goes_on(project: Path) -> None:
    shell = subprocess.Popen(
        [sys.executable, *command("[train]")], cwd=project, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    run_dir = project / "outputs" / "s" / "0"
    try:
        wait_until((run_dir / "lives.txt").exists)
        os.killpg(shell.pid, signal.SIGINT)
        _, said = shell.communicate(timeout=60)
    finally:
        shell.kill()
        shell.wait()
    assert shell.returncode == 130
    assert "stopping 1 run at a safe point" in said
    assert "press ctrl-C again to kill" in said
    assert "Traceback" not in said
    row = status(project)
    assert row["state"] == "cancelled"
    assert "ctrl-C" in row["reason"]
    again = run(*command("[]"), cwd=project)
    assert again.returncode == 0, again.stderr
    assert attempt(run_dir, "002-000")["result"]["resumed"] == 1


def test_a_second_ctrl_c_kills(project: Path) -> None:
    shell = subprocess.Popen(
        [sys.executable, *command("[deaf]")], cwd=project, stderr=subprocess.PIPE, text=True
    )
    run_dir = project / "outputs" / "s" / "0"
    try:
        wait_until((run_dir / "lives.txt").exists)
        shell.send_signal(signal.SIGINT)
        time.sleep(1)
        before = time.monotonic()
        shell.send_signal(signal.SIGINT)
        _, said = shell.communicate(timeout=60)
    finally:
        shell.kill()
        shell.wait()
    assert shell.returncode == 130
    assert time.monotonic() - before < 8
    assert "Traceback" not in said


def test_the_command_that_waits_sees_all_lives(project: Path) -> None:
    key = "hydra.launcher.recovery.micro_batch_key=batch"
    done = run(*command("[gpu_memory,crash]", key), cwd=project)
    assert done.returncode == 0, done.stderr
    run_dir = project / "outputs" / "s" / "0"
    assert outcomes(run_dir) == [("gpu_oom", "requeue_changed"), ("crash", "requeue")]
    assert attempt(run_dir, "001-002")["result"] == {"step": 10, "resumed": 1, "batch": 4}
    log = run(LAUNCH, "logs", "0", cwd=project).stdout
    assert "attempt 001-000: gpu_oom" in log
    assert log.index("launcher: attempt 001-001,") < log.index("launcher: attempt 001-002,")


def test_a_run_whose_budget_is_spent_says_so(project: Path) -> None:
    done = run(*command("[crash,crash]", "hydra.launcher.recovery.max_attempts=1"), cwd=project)
    assert done.returncode == 1
    assert "budget spent: 1 attempt of at most 1" in status(project)["reason"]
    assert "signal 9" in status(project)["reason"]


def test_ctrl_c_also_stops_what_launch_retry_started(project: Path) -> None:
    run(*command("[fail,train]"), cwd=project)
    frozen = project / "outputs" / "s" / "0" / "submissions" / "001" / "config.pkl"
    config = pickle.loads(frozen.read_bytes())
    config.lives = ["train"]
    frozen.write_bytes(pickle.dumps(config))
    shell = subprocess.Popen(
        [sys.executable, LAUNCH, "retry", "0"], cwd=project, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_until((project / "outputs/s/0/attempts/002-000.json").exists)
        shell.send_signal(signal.SIGINT)
        _, said = shell.communicate(timeout=60)
    finally:
        shell.kill()
        shell.wait()
    assert shell.returncode == 130
    assert "interrupted: the local runs were stopped" in said
    assert "Traceback" not in said
    assert status(project)["state"] == "cancelled"
