"""Coming back to a study: `launch`, its bad input, and the Python API."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import launcher as api
from launcher.errors import LauncherError, RunsFailedError
from tests.programs import PLAIN_PROJECT, REPOSITORY, run, wait_for_file

pytestmark = pytest.mark.local


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a study of four runs, one of which failed."""
    folder = shutil.copytree(PLAIN_PROJECT, tmp_path_factory.mktemp("p") / "project")
    sweep = ("hydra/launcher=local", "hydra.sweep.dir=outputs/sweep")
    done = run("app.py", "-m", *sweep, "x=1,2,3", "fail=2,7", cwd=folder)
    assert done.returncode == 1, done.stderr
    return folder


@pytest.fixture
def project(finished: Path, tmp_path: Path) -> Path:
    """The same, to be spoilt; studies can be copied."""
    return shutil.copytree(finished, tmp_path / "project")


def launch(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(Path(sys.executable).with_name("launch"), *arguments, cwd=folder)


def names(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode == 0, done.stderr
    return [row["name"] for row in json.loads(done.stdout)]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["0"], ["x=1 fail=2"]),
        (["0-1", "4"], ["x=1 fail=2", "x=1 fail=7", "x=3 fail=2"]),
        (["x=2"], ["x=2 fail=2", "x=2 fail=7"]),
        (["x=2", "fail=7"], ["x=2 fail=7"]),
        (["state=failed"], ["x=2 fail=2"]),
        (["sweep", "x=3 fail=7"], ["x=3 fail=7"]),
        (["outputs/sweep", "1"], ["x=1 fail=7"]),
    ],
)
def test_runs_are_picked_by_index_range_name_and_filter(
    finished: Path, words: list[str], expected: list[str]
) -> None:
    assert names(launch(finished, "status", "--json", *words)) == expected


def test_a_terminal_that_lacks_letters_is_no_error(finished: Path) -> None:
    plain = {"PYTHONIOENCODING": "ascii"}
    sweep = ("hydra/launcher=local", "hydra.sweep.dir=outputs/other", "hydra.launcher.dry_run=true")
    launch_path = Path(sys.executable).with_name("launch")
    for arguments in (
        (launch_path, "status"),
        ("app.py", "-m", *sweep, "x=1,2"),
        (REPOSITORY / "train.py", "dry_run=true"),
    ):
        done = run(*arguments, cwd=finished, env=plain)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr


def test_a_study_that_was_copied_elsewhere_is_read_where_it_is(project: Path) -> None:
    rows = json.loads(launch(project, "status", "--json").stdout)
    assert {Path(row["run_dir"]).is_relative_to(project) for row in rows} == {True}
    assert [row["state"] for row in rows].count("completed") == 5


def test_results_come_as_table_csv_and_json(finished: Path) -> None:
    table = launch(finished, "results")
    assert "x=3 fail=7   6.000" in table.stdout
    assert "5 of 6 runs are finished" in table.stderr
    rows = list(csv.DictReader(io.StringIO(launch(finished, "results", "--csv").stdout)))
    assert [(row["x"], row["double"]) for row in rows[-2:]] == [("3", "6.0"), ("3", "6.0")]
    assert len(json.loads(launch(finished, "results", "--json", "x=3").stdout)) == 2


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("x=3", "2 of 6 runs selected, 2 of them finished"),
        ("x=2", "2 of 6 runs selected, 1 of them finished"),
    ],
)
def test_runs_that_were_not_asked_for_are_not_called_unfinished(
    finished: Path, word: str, said: str
) -> None:
    assert said in launch(finished, "results", word).stderr


def test_selected_runs_without_a_result_are_not_taken_for_the_study(finished: Path) -> None:
    refused = launch(finished, "results", "state=failed")
    assert refused.returncode == 2
    assert "no selected run of study `sweep` is finished yet" in refused.stderr


def test_logs_and_show_of_a_failed_run_end_with_its_traceback(finished: Path) -> None:
    assert "ValueError: x is 2" in launch(finished, "logs", "state=failed").stdout
    shown = launch(finished, "show", "x=2 fail=2")
    assert shown.stdout.rstrip().endswith("ValueError: x is 2")
    record = json.loads(launch(finished, "show", "x=2 fail=2", "--json").stdout)
    assert record["attempts"][0]["outcome"] == "task_error"
    assert "x: 2" in record["config"]


def test_list_shows_disk_and_inodes(finished: Path) -> None:
    (row,) = json.loads(launch(finished, "list", "--json").stdout)
    assert row["runs"] == 6
    assert row["inodes"] >= 6 * 10
    assert row["disk_mb"] > 0


def test_retry_runs_a_failed_run_as_it_was_frozen(project: Path) -> None:
    (project / "helper.py").write_text('VALUE = "edited later"\n')
    refused = launch(project, "retry", "x=1 fail=2")
    assert refused.returncode == 2
    assert "x=1 fail=2 is completed" in refused.stderr
    again = launch(project, "retry", "--failed")
    assert again.returncode == 1
    assert "1 runs failed: x=2 fail=2" in again.stderr
    (row,) = json.loads(launch(project, "status", "--json", "state=failed").stdout)
    assert row["attempts"] == 2
    for told in (("results",), ("show", "x=2 fail=2")):
        assert launch(project, *told).returncode == 0
    assert "x: 2" in json.loads(launch(project, "show", "x=2 fail=2", "--json").stdout)["config"]
    assert launch(project, "logs", "state=failed").stdout.count("as submitted") == 1


def test_a_running_local_run_is_cancelled_from_another_shell_and_queued_ones_never_start(
    tmp_path: Path,
) -> None:
    project = Path(shutil.copytree(PLAIN_PROJECT, tmp_path / "project"))
    command = [
        sys.executable, "app.py", "-m", "hydra/launcher=local", "hydra.sweep.dir=outputs/sweep",
        "x=1,2", "wait_for=/nowhere/gate", "hydra.launcher.max_parallel=1",
    ]  # fmt: skip
    shell = subprocess.Popen(command, cwd=project, stderr=subprocess.PIPE, text=True)
    try:
        wait_for_file(project, "outputs/sweep/0/attempts/001-000.json")
        cancelled = launch(project, "cancel", "--all")
        assert cancelled.returncode == 0, cancelled.stderr
        _, said = shell.communicate(timeout=60)
    finally:
        shell.kill()
        shell.wait()
    assert shell.returncode == 1, said
    rows = json.loads(launch(project, "status", "--json").stdout)
    assert [row["state"] for row in rows] == ["cancelled", "cancelled"]
    assert not (project / "outputs" / "sweep" / "1" / "attempts").exists()


def test_a_run_that_another_scheduler_has_is_not_started_here(project: Path) -> None:
    path = project / "outputs" / "sweep" / "1" / "submissions" / "001" / "submission.json"
    record = json.loads(path.read_text()) | {"scheduler": "slurm", "job_id": "8_3"}
    path.write_text(json.dumps(record))
    shutil.rmtree(project / "outputs" / "sweep" / "1" / "attempts")
    sweep = ("hydra/launcher=local", "hydra.sweep.dir=outputs/sweep")
    again = run("app.py", "-m", *sweep, "x=1,2,3", "fail=2,7", cwd=project)
    assert again.returncode == 2
    assert "`x=1 fail=7`: it was sent to another scheduler (slurm)" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["status", "--study", "swep"], "no study `swep` in `outputs`"),
        (["status", "9"], "`9` is outside of the study's runs 0-5"),
        (["status", "x=9"], "values of `x`: 1, 2, 3"),
        (["status", "y=1"], "no run has an override `y`"),
        (["status", "state=done"], "values of `state`:"),
        (["logs", "x=1"], "one run is meant, `x=1` picks 2"),
        (["logs", "fail=7 x=1"], "no run"),
        (["logs", "0", "--rank", "3"], "`x=1 fail=2` has only rank 0"),
        (["logs", "0", "--rank", "-1"], "ranks count from 0"),
        (["show", "x=1"], "one run is meant"),
        (["cancel"], "say which runs, or `--all`"),
        (["cancel", "0", "--all"], "not both"),
        (["cancel", "--all"], "none of these runs is on its way"),
        (["retry"], "say which runs, or `--failed`"),
        (["report", "nope"], "no study `nope` in `outputs`"),
        (["dashboard", "nope", "--offline"], "no study `nope` in `outputs`"),
        (["list", "--root", "nowhere"], "no study in `nowhere`"),
    ],
)
def test_what_makes_no_sense_gets_one_message(
    finished: Path, arguments: list[str], message: str
) -> None:
    done = launch(finished, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["doctor", "probe"])
def test_a_program_with_hydras_own_launcher_is_told_which_one_is_needed(
    project: Path, command: str
) -> None:
    done = launch(project, command, "--program", "app.py", "x=1")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"error: `launch {command}` needs a launcher of ours, and the program has Hydra's own",
        f"hint: launch {command} hydra/launcher=slurm ..., or `override hydra/launcher: slurm` in"
        " the defaults of its config",
    ]
    well = launch(project, command, "--program", "app.py", "hydra/launcher=local", "x=1")
    assert well.returncode == 0, well.stderr


@pytest.mark.parametrize(
    ("command", "program"),
    [
        (["plan"], "app.py"),
        (["doctor"], REPOSITORY / "train.py"),
        (["evaluate", "sweep"], REPOSITORY / "train.py"),
    ],
)
def test_an_output_folder_that_cannot_be_written_gets_one_message(
    finished: Path, command: list[str], program: str | Path
) -> None:
    place = ("hydra/launcher=local", "hydra.sweep.dir=/proc/nowhere")
    done = launch(finished, *command, *place, "--program", str(program))
    assert done.returncode == 2, done.stderr
    assert "error: cannot write `/proc/nowhere`" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_doctor_takes_the_removal_of_a_key_for_an_override(project: Path) -> None:
    shown = launch(project, "doctor", "~x", "hydra/launcher=local", "--program", "app.py")
    assert "checks of 1 run" in shown.stdout + shown.stderr, shown.stderr


def test_the_checks_of_a_submission_come_as_json(project: Path) -> None:
    overrides = ("x=1,2", "hydra/launcher=local", "--program", "app.py")
    done = launch(project, "doctor", *overrides, "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["runs"] == 2
    levels = {finding["check"]: finding["level"] for finding in answer["findings"]}
    assert levels["output_folder"] == levels["importable"] == "ok"


def test_a_damaged_record_is_shown_as_such_and_never_acted_on(project: Path) -> None:
    damaged = project / "outputs" / "sweep" / "1" / "attempts" / "001-000.json"
    damaged.write_text(damaged.read_text()[:50])
    rows = json.loads(launch(project, "status", "--json").stdout)
    assert [row["state"] for row in rows].count("completed") == 4
    assert "is damaged" in rows[1]["reason"]
    sweep = ("hydra/launcher=local", "hydra.sweep.dir=outputs/sweep")
    again = run("app.py", "-m", *sweep, "x=1,2,3", "fail=2,7", cwd=project)
    assert again.returncode == 2
    assert "is damaged" in again.stderr
    assert "nothing was sent" in again.stderr


def test_a_study_of_a_newer_version_is_refused_with_its_version(project: Path) -> None:
    path = project / "outputs" / "sweep" / "study.json"
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 2', 1))
    done = launch(project, "status")
    assert done.returncode == 2
    assert "has version 2, this program reads 1" in done.stderr


def test_a_run_folder_deleted_by_hand_is_run_again_by_the_same_command(project: Path) -> None:
    shutil.rmtree(project / "outputs" / "sweep" / "0")
    sweep = ("hydra/launcher=local", "hydra.sweep.dir=outputs/sweep")
    again = run("app.py", "-m", *sweep, "x=1,2,3", "fail=2,7", cwd=project)
    assert "1 new, 4 done, 1 failed; 1 to submit" in again.stderr
    assert [row["state"] for row in json.loads(launch(project, "status", "--json").stdout)].count(
        "completed"
    ) == 5


def test_runs_that_collide_on_one_key_are_named(project: Path) -> None:
    sweep = ("hydra/launcher=local", "hydra.sweep.dir=other", "hydra.sweep.subdir=same")
    done = run("app.py", "-m", *sweep, "x=1,2", cwd=project)
    assert done.returncode == 2
    assert "runs `x=1` and `x=2` have the same folder" in done.stderr
    assert not (project / "other").exists()


def test_a_study_starts_from_python_and_is_read_as_frames(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    local = ["hydra/launcher=local", "hydra.sweep.dir=outputs/cell"]
    study = api.launch([*local, "x=1,2"], program="app.py")
    frame = study.frame()
    assert list(frame["double"]) == [2.0, 4.0]
    assert list(frame["x"]) == [1, 2]
    metrics = study.path / "0" / "metrics" / "001-000" / "metrics.csv"
    metrics.parent.mkdir(parents=True)
    metrics.write_text("step,loss,acc\n1,0.5,\n2,0.25,0.75\n")
    assert len(study.histories()) == 3
    with pytest.raises(RunsFailedError, match="1 of 2 runs failed"):
        api.launch([*local, "x=1,2", "fail=2", "hydra.launcher.failed=retry"], program="app.py")
    with pytest.raises(LauncherError, match=r"no `nowhere\.py`"):
        api.launch([], program="nowhere.py")


def test_names_are_completed_for_the_shell(finished: Path) -> None:
    environment = {
        **os.environ,
        "_LAUNCH_COMPLETE": "complete_bash",
        "COMP_WORDS": "launch status sw",
        "COMP_CWORD": "2",
    }
    done = subprocess.run(
        [Path(sys.executable).with_name("launch")],
        cwd=finished, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "sweep" in done.stdout
