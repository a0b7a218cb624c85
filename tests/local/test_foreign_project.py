"""A project of the common Hydra and Lightning layout uses our launcher by one override.

It has its own folders for code, configs and outputs, builds everything from `_target_`, and its
program puts the project on Python's path by itself.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from launcher import snapshot
from tests.programs import REPOSITORY, run, wait_for_file

pytestmark = pytest.mark.local

TEMPLATE = REPOSITORY / "tests" / "projects" / "template"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    ignored = shutil.ignore_patterns("__pycache__")
    return Path(shutil.copytree(TEMPLATE, tmp_path / "project", ignore=ignored))


def train(project: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    return run("src/train.py", "-m", *overrides, cwd=project)


def runs_of(project: Path) -> list[Path]:
    """Folders of the runs of the only sweep, in the project's own layout."""
    (sweep,) = project.glob("logs/train/multiruns/*")
    return sorted(path for path in sweep.iterdir() if path.name.isdigit())


def attempt(run_dir: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((run_dir / "attempts" / "001-000.json").read_text())
    return record


def metrics(run_dir: Path) -> str:
    return (run_dir / "csv" / "version_0" / "metrics.csv").read_text()


def status(project: Path, run_dir: Path) -> list[dict[str, Any]]:
    launch = Path(sys.executable).with_name("launch")
    done = run(launch, "status", run_dir.parent.relative_to(project), "--json", cwd=project)
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def test_a_foreign_project_has_the_folders_and_results_of_hydras_own_launcher(
    project: Path, tmp_path: Path
) -> None:
    twin = Path(shutil.copytree(project, tmp_path / "twin"))
    sweep = "model.optimizer.lr=0.1,0.05"
    by_hydra, by_us = train(twin, sweep), train(project, "hydra/launcher=local", sweep)
    assert by_hydra.returncode == 0, by_hydra.stderr
    assert by_us.returncode == 0, by_us.stderr
    assert "2 runs: 2 new; 2 to submit" in by_us.stderr
    expected, ours = runs_of(twin), runs_of(project)
    assert [path.name for path in ours] == [path.name for path in expected] == ["0", "1"]
    assert [metrics(path) for path in ours] == [metrics(path) for path in expected]
    for theirs, own in zip(expected, ours, strict=True):
        left = {path.relative_to(theirs) for path in theirs.rglob("*")}
        assert left <= {path.relative_to(own) for path in own.rglob("*")}


def test_the_progress_of_a_foreign_training_is_shown_however_short_it_was(project: Path) -> None:
    done = train(project, "hydra/launcher=local", "trainer.max_epochs=1,2")
    assert done.returncode == 0, done.stderr
    rows = status(project, runs_of(project)[0])
    assert [row["state"] for row in rows] == ["completed", "completed"]
    shown = [[row["progress"][name] for name in ("step", "total_steps", "epoch")] for row in rows]
    assert shown == [[4, 4, 1], [8, 8, 2]]
    assert all("val/loss" in row["progress"]["metrics"] for row in rows)


def test_a_dry_run_of_a_foreign_project_prints_the_plan_and_leaves_no_file(project: Path) -> None:
    before = sorted(project.rglob("*"))
    done = train(
        project, "hydra/launcher=local", "experiment=steady,unstable", "hydra.launcher.dry_run=true"
    )
    assert done.returncode == 0, done.stderr
    assert "2 runs: 2 new; 2 to submit" in done.stdout
    assert "unstable" in done.stdout
    assert [p for p in sorted(project.rglob("*")) if "__pycache__" not in str(p)] == before


def test_a_foreign_model_that_raises_fails_alone_and_for_the_shell(project: Path) -> None:
    done = train(project, "hydra/launcher=local", "experiment=steady,unstable")
    assert done.returncode == 1
    assert "1 of 2 runs failed" in done.stderr
    steady, unstable = runs_of(project)
    assert attempt(steady)["outcome"] == "completed"
    assert attempt(unstable)["outcome"] == "task_error"
    log = (unstable / "train.log").read_text()
    assert "FloatingPointError: the loss is inf in step" in log.rstrip().splitlines()[-1]
    rows = status(project, steady)
    assert [row["state"] for row in rows] == ["completed", "failed"]
    assert rows[1]["reason"].startswith("FloatingPointError: the loss is inf in step")


@pytest.mark.parametrize("in_git", [True, False], ids=["in_git", "outside_of_git"])
def test_code_and_configs_of_a_foreign_project_are_those_of_the_submission(
    project: Path, tmp_path: Path, in_git: bool
) -> None:
    if in_git:
        (project / ".gitignore").write_text("/logs/\n__pycache__/\n")
        subprocess.run(["git", "init", "--quiet", project], check=True)
    gate = tmp_path / "gate"
    command = [
        sys.executable, "src/train.py", "-m", "hydra/launcher=local",
        "hydra.launcher.max_parallel=1", "model.optimizer.lr=0.1,0.05", f"data.ready_file={gate}",
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=project, stderr=subprocess.PIPE, text=True)
    try:
        wait_for_file(project, "logs/train/multiruns/*/0/attempts/001-000.json")
        for path in [*project.glob("src/*/line.py"), project / "src" / "instantiators.py"]:
            path.write_text("raise RuntimeError('edited later')\n")
        (project / "configs" / "trainer" / "default.yaml").write_text("max_epochs: 1\n")
        gate.touch()
        said = process.communicate(timeout=120)[1]
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, said
    assert [attempt(path)["outcome"] for path in runs_of(project)] == ["completed", "completed"]
    assert [row["progress"]["epoch"] for row in status(project, runs_of(project)[0])] == [3, 3]


def test_what_hydra_left_in_a_project_outside_of_git_is_not_taken_for_its_code(
    project: Path,
) -> None:
    left = project / "logs" / "train" / "runs" / "first"
    for folder in (left, project):  # the latter as after hydra.run.dir=.
        (folder / ".hydra").mkdir(parents=True)
        (folder / ".hydra" / "config.yaml").touch()
    (left / "last.ckpt").touch()
    (project / "multirun.yaml").touch()  # as after hydra.sweep.dir=.
    code = {str(path) for path in snapshot.read(project).contents}
    assert {"src/train.py", "src/data/line.py", "configs/data/line.yaml"} <= code
    assert not any(name.startswith("logs") for name in code)
