"""A probe measures in minutes what a run takes, and leaves the run itself as it was."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.programs import PLAIN_PROJECT, REPOSITORY, run

pytestmark = pytest.mark.local

PROJECTS = REPOSITORY / "tests" / "projects"
TINY = ("scale.data.num_logs=12", "scale.trainer.max_steps=30", "scale.trainer.val_every_steps=15")


def launch(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return run(Path(sys.executable).with_name("launch"), *arguments, cwd=folder)


def copied(tmp_path: Path, project: Path) -> Path:
    ignored = shutil.ignore_patterns("__pycache__")
    return Path(shutil.copytree(project, tmp_path / project.name, ignore=ignored))


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def probe_dir(project: Path) -> Path:
    """Folder of the first probe."""
    (record,) = project.rglob("profiles/probes/*/study.json")
    entry = read(record)["runs"][0]
    return Path(record.parent / entry["run_dir"])


def uses(run_dir: Path) -> dict[str, Any]:
    """What rank 0 took, by attempt."""
    return {path.parent.stem: read(path) for path in sorted(run_dir.glob("attempts/*.use/0.json"))}


def test_a_probe_ends_after_its_steps_and_the_run_then_trains_from_the_start(
    tmp_path: Path,
) -> None:
    program = REPOSITORY / "train.py"
    probed = launch(
        tmp_path, "probe", "--program", program, "--steps", "8", "--val-batches", "1",
        *TINY, "data.num_workers=1",
    )  # fmt: skip
    assert probed.returncode == 0, probed.stderr
    assert "base: fits, at most" in probed.stdout
    assert {path.name for path in (tmp_path / "outputs").iterdir()} == {"profiles"}
    measured = probe_dir(tmp_path)
    assert read(measured / "progress.json")["step"] == 8
    assert not (measured / "checkpoints" / "resume").exists()
    (use,) = uses(measured).values()
    assert use["is_probe"]
    assert use["outcome"] == "completed"
    assert use["total_steps"] == 30
    assert use["samples_per_s"] > 0
    assert use["validations"] == 1
    assert use["overlaps"], "the workers for training are to be alive beside those for validation"
    assert use["checkpoint_s"] is not None
    assert {"train", "switch", "validate"} <= {phase["phase"] for phase in use["phases"]}

    real = run(program, *TINY, cwd=tmp_path)
    assert real.returncode == 0, real.stderr
    assert "1 runs: 1 new; 1 to submit" in real.stderr
    (run_dir,) = (path.parent for path in tmp_path.glob("outputs/*/*/attempts"))
    (life,) = run_dir.glob("attempts/001-000.json")
    assert read(life)["resumed_step"] is None
    assert read(run_dir / "progress.json")["step"] == 30
    assert read(life)["result"]["ade_m"] > 0
    pointers = {path.parent.name for path in (tmp_path / "outputs/profiles").glob("*/*.json")}
    assert len(pointers) == 1, "the probe and the run are measured for each other"


def test_a_foreign_training_is_probed_anew_by_each_command_and_compared(tmp_path: Path) -> None:
    project = copied(tmp_path, PROJECTS / "template")
    command = ("probe", "--program", "src/train.py", "hydra/launcher=local", "--steps", "6")
    for more in ([], [], ["hydra.launcher.resources.cpus_per_rank=2"]):
        probed = launch(project, *command, *more)
        assert probed.returncode == 0, probed.stderr
    measured = probe_dir(project)
    lives = [read(path) for path in sorted(measured.glob("attempts/0*-000.json"))]
    assert [(life["attempt"], life["resumed_step"]) for life in lives] == [
        ("001-000", None), ("002-000", None),
    ]  # fmt: skip
    assert read(measured / "progress.json")["step"] == 6
    runs = [path for path in project.glob("logs/train/multiruns/*") if path.name != "profiles"]
    assert runs == [], "the folders of the real runs are not even made"
    compared = launch(project, "scaling", measured.parent, "--all", "--json")
    rows = [(row["cpus_per_rank"], row["attempt"]) for row in json.loads(compared.stdout)]
    assert sorted(rows) == [(1, "001-000"), (1, "002-000"), (2, "001-000")]


def test_runs_that_take_the_same_are_probed_once_and_others_each(tmp_path: Path) -> None:
    project = copied(tmp_path, PROJECTS / "template")
    sweep = ("model.optimizer.lr=0.1,0.05", "data.batch_size=8,4", "hydra.launcher.dry_run=true")
    ignored = "hydra.launcher.profile_ignore=[model.optimizer.lr]"
    program = ("probe", "--program", "src/train.py", "hydra/launcher=local")
    probed = launch(project, *program, *sweep, ignored)
    assert probed.returncode == 0, probed.stderr
    assert probed.stderr.count("for 2 runs that take the same") == 2
    assert probed.stderr.count("1 x 1 CPU") == 2
    assert not list(project.rglob("study.json"))


def test_a_probe_that_runs_out_of_memory_is_an_answer(tmp_path: Path) -> None:
    project = copied(tmp_path, PROJECTS / "endings")
    probed = launch(
        project, "probe", "--program", "app.py", "hydra/launcher=local", "how=oom", "mb=900",
        "lives=9", "hydra.launcher.resources.mem_gb=0.4", "hydra.sweep.dir=outputs/s",
    )  # fmt: skip
    assert probed.returncode == 0, probed.stderr
    assert "base: does not fit: the host ran out of memory" in probed.stdout
    verdict = read(probe_dir(project) / "attempts" / "001-000.verdict.json")
    assert (verdict["outcome"], verdict["action"]) == ("host_oom", "stop")


def test_a_probe_whose_task_raises_measured_nothing_and_fails(tmp_path: Path) -> None:
    project = copied(tmp_path, PLAIN_PROJECT)
    probed = launch(project, "probe", "--program", "app.py", "hydra/launcher=local", "fail=1")
    assert probed.returncode == 1
    assert "1 of 1 probes measured nothing" in probed.stderr
    assert "ValueError: x is 1" in probed.stderr


def test_a_run_is_probed_only_when_the_one_that_it_requires_is_completed(tmp_path: Path) -> None:
    project = copied(tmp_path, PLAIN_PROJECT)
    chain = (
        "hydra/launcher=local", "hydra.sweep.dir=outputs/s", "x=1",
        "+hydra.launcher.requires.first=['x=2','hydra.launcher.requires.first=null']",
    )  # fmt: skip
    refused = launch(project, "probe", "--program", "app.py", *chain)
    assert refused.returncode == 2
    assert "requires `first" in refused.stderr
    assert "which is new: it can be probed once that one is completed" in refused.stderr
    assert "requires.first=null goes without" in refused.stderr
    assert not (project / "outputs").exists()
    done = run("app.py", "-m", *chain, cwd=project)
    assert done.returncode == 0, done.stderr
    (first,) = project.glob("outputs/prerequisites/*/attempts/*-000.json")
    before = first.stat().st_mtime_ns
    probed = launch(project, "probe", "--program", "app.py", *chain)
    assert probed.returncode == 0, probed.stderr
    assert "base: fits" in probed.stdout, "a task without a Trainer is measured until it ends"
    assert first.stat().st_mtime_ns == before
    assert len(list(first.parent.glob("*-000.json"))) == 1, "it is not run once more"


def test_breakpoints_work_in_a_probe_of_the_debug_launcher(tmp_path: Path) -> None:
    project = copied(tmp_path, PROJECTS / "template")
    probed = launch(
        project, "probe", "--program", "src/train.py", "hydra/launcher=debug", "--steps", "5"
    )
    assert probed.returncode == 0, probed.stderr
    assert "base: fits" in probed.stdout
    assert read(probe_dir(project) / "progress.json")["step"] == 5


def test_too_few_steps_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    project = copied(tmp_path, PLAIN_PROJECT)
    refused = launch(
        project, "probe", "--program", "app.py", "hydra/launcher=local", "--steps", "0"
    )
    assert refused.returncode == 2
    assert "`hydra.launcher.probe.steps=0` is below 1" in refused.stderr
    assert not list(project.glob("multirun*"))


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    refused = launch(tmp_path, "probe", "--program", "nowhere.py")
    assert refused.returncode == 2
    assert "there is no program `nowhere.py`" in refused.stderr


def test_equal_runs_are_still_refused_where_they_would_be_sent(tmp_path: Path) -> None:
    program, shapes = REPOSITORY / "train.py", "resources.cpus_per_rank=1,2"
    refused = run(program, shapes, cwd=tmp_path)
    assert refused.returncode == 2
    assert "are the same run" in refused.stderr
    probed = launch(tmp_path, "probe", "--program", program, shapes, "dry_run=true")
    assert probed.returncode == 0, probed.stderr
    assert "1 x 1 CPU" in probed.stderr
    assert "1 x 2 CPU" in probed.stderr
    assert not (tmp_path / "outputs").exists()


def test_a_scaling_study_makes_runs_of_shapes(tmp_path: Path) -> None:
    planned = run(
        REPOSITORY / "train.py", "study=scaling", "resources.gpus=1,2", "cluster.accelerator=cpu",
        "dry_run=true", cwd=tmp_path, env={"CUDA_VISIBLE_DEVICES": "0,1"},
    )  # fmt: skip
    assert planned.returncode == 0, planned.stderr
    assert "2 runs: 2 new; 2 to submit" in planned.stdout
    assert "study scaling on local" in planned.stdout
