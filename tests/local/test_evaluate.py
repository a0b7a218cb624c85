"""`launch evaluate`: trained runs are evaluated by runs of a study of their own."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from launcher import store
from tests.programs import REPOSITORY, run, wait_for_file

pytestmark = pytest.mark.local

APP = """
import time
from pathlib import Path

import hydra
import launcher


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config):
    context = launcher.current()
    if config.task == "train":
        (context.run_dir / "began").touch()
        while config.wait_for and not Path(config.wait_for).exists():
            time.sleep(0.05)
        if config.x == config.fail:
            raise ValueError("it diverged")
        (context.run_dir / "weights").write_text(str(10 * config.x))
        return {"trained": config.x}
    base = int((context.inputs["base"] / "weights").read_text())
    return {"score": base + config.scale * int((context.inputs["train"] / "weights").read_text())}


if __name__ == "__main__":
    main()
"""
CONFIG = """
defaults:
  - _self_
  - task: train
  - override hydra/launcher: local
task: train
x: 1
rate: 0.5
scale: 1
fail: 0
wait_for: null
hydra:
  mode: MULTIRUN
  sweep:
    dir: outputs/${study_id:}
    subdir: ${run_key:}
  launcher:
    key_exclude: [wait_for]
    requires:
      base: ["task=train", "x=7", "fail=0", "hydra.launcher.requires.base=null"]
    follow:
      may_differ: [scale]
"""
EVALUATE = """
# @package _global_
task: evaluate
hydra:
  launcher:
    requires:
      train: ["task=train"]
"""
TRAIN = """
# @package _global_
task: train
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a study of three runs, one of which failed."""
    folder = tmp_path_factory.mktemp("p") / "project"
    (folder / "conf" / "task").mkdir(parents=True)
    (folder / "train.py").write_text(APP)
    (folder / "conf" / "config.yaml").write_text(CONFIG)
    (folder / "conf" / "task" / "train.yaml").write_text(TRAIN)
    (folder / "conf" / "task" / "evaluate.yaml").write_text(EVALUATE)
    done = run("train.py", "x=1,2,3", "fail=2", "hydra.launcher.study=first", cwd=folder)
    assert done.returncode == 1, done.stderr
    return folder


@pytest.fixture
def project(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "project")


def evaluate(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(
        "-c", LAUNCH, "evaluate", *arguments, cwd=folder, env={"PYTHONPATH": str(REPOSITORY)}
    )


LAUNCH = "import sys; sys.argv[0] = 'launch'; from launcher.cli import main; main()"


def outcomes(study: Path) -> dict[str, float]:
    """Scores of the runs of a study, by their overrides of x."""
    found = {}
    for entry in json.loads((study / "study.json").read_text())["runs"]:
        x = next(o for o in entry["overrides"] if o.startswith("x="))
        life = store.attempts(study / entry["run_dir"], key=entry["key"])[-1]
        found[x] = life.result["score"]
    return found


def lives(folder: Path) -> int:
    """How many attempts there were of all runs."""
    return len(list(folder.glob("outputs/*/*/attempts/???-???.json")))


def test_completed_runs_are_evaluated_with_other_settings_and_nothing_is_trained_again(
    project: Path,
) -> None:
    before = lives(project)
    done = evaluate(project, "first", "scale=3", "--name", "second")
    assert done.returncode == 0, done.stderr
    assert outcomes(project / "outputs" / "second") == {"x=1": 100, "x=3": 160}
    assert lives(project) == before + 2
    record = json.loads((project / "outputs" / "second" / "study.json").read_text())
    assert len(record["followed"]) == 3  # two trainings, and what they were made from
    assert set(record["followed"]) == {entry["key"] for entry in record["prerequisites"]}
    assert "not followed: `x=2" in done.stderr
    assert "(failed)" in done.stderr


def test_the_same_command_again_evaluates_nothing_twice(project: Path) -> None:
    assert evaluate(project, "first", "scale=3").returncode == 0
    count = lives(project)
    (study,) = (project / "outputs").glob("first-evaluate-*")
    assert set(outcomes(study)) == {"x=1", "x=3"}
    assert evaluate(project, "first", "scale=3").returncode == 0
    assert lives(project) == count


def test_a_dry_run_plans_the_study_that_the_same_command_sends(project: Path) -> None:
    planned = evaluate(project, "first", "scale=3", "dry_run=true")
    assert planned.returncode == 0, planned.stderr
    assert not list((project / "outputs").glob("first-evaluate-*"))
    assert evaluate(project, "first", "scale=3", "yes=true").returncode == 0
    (study,) = (project / "outputs").glob("first-evaluate-*")
    assert study.name in planned.stdout
    assert "dry_run" not in planned.stdout
    (overrides,) = {
        tuple(o for o in entry["overrides"] if not o.startswith("x="))
        for entry in json.loads((study / "study.json").read_text())["runs"]
    }
    assert overrides == ("fail=2", "task=evaluate", "scale=3")


def test_a_moved_study_is_evaluated_and_its_failed_runs_are_sent_again(project: Path) -> None:
    assert run("train.py", "x=4,5", "fail=5", "hydra.launcher.study=new", cwd=project).returncode
    before = project / "outputs" / "new"
    moved = before.rename(project / "outputs" / "moved")
    done = evaluate(project, "moved", "scale=3", "--name", "second")
    assert done.returncode == 0, done.stderr
    assert outcomes(project / "outputs" / "second") == {"x=4": 190}
    again = run("-c", LAUNCH, "retry", "moved", "--failed", cwd=project)
    assert again.returncode == 1
    failed = [life for path in moved.glob("*/attempts") for life in store.attempts(path.parent)]
    assert [life.error for life in failed if life.attempt == "002-000"] == [
        "ValueError: it diverged"
    ]
    assert not before.exists()


def test_a_failed_run_whose_task_is_gone_is_not_sent_again(project: Path) -> None:
    assert run("train.py", "x=5", "fail=5", "hydra.launcher.study=new", cwd=project).returncode
    shutil.rmtree(project / "outputs" / "new" / "payload")
    count = lives(project)
    again = run("-c", LAUNCH, "retry", "new", "--failed", cwd=project)
    assert again.returncode == 2
    assert "cannot be sent as it was" in again.stderr
    assert "Traceback" not in again.stderr
    assert lives(project) == count


def test_a_run_whose_frozen_config_is_gone_is_not_followed(project: Path) -> None:
    assert run("train.py", "x=4", "hydra.launcher.study=new", cwd=project).returncode == 0
    for path in (project / "outputs" / "new").glob("*/submissions/001/config.pkl"):
        path.unlink()
    done = evaluate(project, "new")
    assert done.returncode == 2
    assert "was made with is gone" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_training_reads_cannot_be_changed_afterwards(project: Path) -> None:
    done = evaluate(project, "first", "rate=0.9")
    assert done.returncode == 2
    assert "made with other values: rate (0.5 there, 0.9 here)" in done.stderr
    assert "only these may differ: scale" in done.stderr


def test_an_evaluation_is_no_training_and_is_not_evaluated(project: Path) -> None:
    assert evaluate(project, "first", "--name", "second").returncode == 0
    done = evaluate(project, "second")
    assert done.returncode == 2
    assert "its `task` is `evaluate`, not `train`" in done.stderr


def test_a_study_in_which_all_failed_is_refused_by_name(project: Path) -> None:
    failed = run("train.py", "x=4", "fail=4", "hydra.launcher.study=bad", cwd=project)
    assert failed.returncode == 1
    done = evaluate(project, "bad")
    assert done.returncode == 2
    assert "no run of `bad` has completed or is on its way" in done.stderr


def test_runs_that_still_train_are_waited_for(project: Path) -> None:
    go = project / "go"
    training = subprocess.Popen(
        [sys.executable, "train.py", "x=5", f"wait_for={go}", "hydra.launcher.study=late"],
        cwd=project,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for_file(project, "outputs/late/*/began")
    waiting = subprocess.Popen(
        [sys.executable, "-c", LAUNCH, "evaluate", "late", "--name", "after"],
        cwd=project,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for_file(project, "outputs/after/study.json")
    assert not list(project.glob("outputs/after/*/attempts/*"))
    go.touch()
    assert training.wait(60) == 0
    assert waiting.wait(60) == 0
    assert outcomes(project / "outputs" / "after") == {"x=5": 120}
