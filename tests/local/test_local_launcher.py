"""An unrelated Hydra program uses our launchers by one override, on this machine."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from launcher import study as read_study
from tests.programs import PLAIN_PROJECT, run, wait_for_file

pytestmark = pytest.mark.local


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return Path(shutil.copytree(PLAIN_PROJECT, tmp_path / 'it\'s a "project"'))


def launch(
    project: Path, *overrides: str, launcher: str = "local"
) -> subprocess.CompletedProcess[str]:
    sweep = "hydra.sweep.dir=sweep"
    return run("app.py", "-m", f"hydra/launcher={launcher}", sweep, *overrides, cwd=project)


def record(project: Path, number: int) -> dict[str, object]:
    path = project / "sweep" / str(number) / "attempts" / "001-000.json"
    value: dict[str, object] = json.loads(path.read_text())
    return value


def test_a_sweep_runs_and_its_results_are_shown(project: Path) -> None:
    done = launch(project, "x=1,2,3")
    assert done.returncode == 0, done.stderr
    assert "x=3   6.000  as submitted" in done.stdout
    assert record(project, 2)["result"] == {"double": 6.0, "helper": "as submitted"}


def test_a_task_that_raises_fails_alone_with_its_traceback_last(project: Path) -> None:
    done = launch(project, "x=1,2,3", "fail=2")
    assert done.returncode == 1
    assert "1 of 3 runs failed" in done.stderr
    assert record(project, 1)["outcome"] == "task_error"
    assert [record(project, n)["outcome"] for n in (0, 2)] == ["completed", "completed"]
    log = (project / "sweep" / "1" / "app.log").read_text()
    assert log.rstrip().endswith("ValueError: x is 2")
    assert log.index("app.py") < log.index("ValueError: x is 2")


def test_a_task_that_leaves_quietly_is_not_called_completed(project: Path) -> None:
    done = launch(project, "x=1,2", "leave=2")
    assert done.returncode == 1
    assert record(project, 1)["outcome"] == "task_error"


def test_code_edited_after_submission_changes_nothing_that_is_queued(
    project: Path, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    command = [
        sys.executable, "app.py", "-m", "hydra/launcher=local", "hydra.sweep.dir=sweep",
        "hydra.launcher.max_parallel=1", "x=1,2", f"wait_for={gate}",
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=project, stdout=subprocess.DEVNULL)
    try:
        wait_for_file(project, "sweep/0/attempts/001-000.json")
        (project / "helper.py").write_text('VALUE = "edited later"\n')
        (project / "conf" / "config.yaml").write_text(
            "x: 1\nfail: 2\nleave: null\nwait_for: null\n"
        )
        gate.touch()
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()
    assert record(project, 1)["result"] == {"double": 4.0, "helper": "as submitted"}


def lives(project: Path, number: int) -> list[str]:
    folder = project / "sweep" / str(number) / "attempts"
    return sorted(path.name for path in folder.glob("???-???.json"))


def test_finished_and_failed_runs_are_kept_when_the_command_is_issued_again(
    project: Path,
) -> None:
    launch(project, "x=1,2", "fail=2")
    again = launch(project, "x=1,2", "fail=2")
    assert again.returncode == 1
    assert "2 runs: 1 done, 1 failed; 0 to submit" in again.stderr
    assert lives(project, 0) == lives(project, 1) == ["001-000.json"]


def test_a_task_error_is_retried_once_the_code_has_changed(project: Path) -> None:
    launch(project, "x=1,2", "fail=2")
    source = (project / "app.py").read_text()
    (project / "app.py").write_text(source.replace("config.x == config.fail", "False"))
    again = launch(project, "x=1,2", "fail=2")
    assert again.returncode == 0, again.stderr
    assert "again, code changed after: ValueError: x is 2" in again.stderr
    assert "the study mixes 2 versions of the code" in again.stderr
    assert (lives(project, 0), lives(project, 1)) == (
        ["001-000.json"], ["001-000.json", "002-000.json"],
    )  # fmt: skip


def test_failed_retry_and_force_send_again(project: Path) -> None:
    launch(project, "x=1,2", "fail=2")
    launch(project, "x=1,2", "fail=2", "hydra.launcher.failed=retry")
    assert (len(lives(project, 0)), len(lives(project, 1))) == (1, 2)
    launch(project, "x=1,2", "fail=2", "hydra.launcher.force=true")
    assert (len(lives(project, 0)), len(lives(project, 1))) == (2, 3)


def test_a_dry_run_prints_the_plan_and_leaves_no_file(project: Path) -> None:
    before = sorted(project.rglob("*"))
    done = run(
        "app.py", "-m", "hydra/launcher=local", "x=1,2", "fail=7", "hydra.launcher.dry_run=true",
        cwd=project,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "all runs: fail=7" in done.stdout
    assert "2 runs: 2 new; 2 to submit" in done.stdout
    assert sorted(path for path in project.rglob("*") if "__pycache__" not in str(path)) == before


def test_a_dry_run_of_the_debug_launcher_runs_nothing(project: Path) -> None:
    done = launch(project, "x=1,2", "hydra.launcher.dry_run=true", launcher="debug")
    assert done.returncode == 0, done.stderr
    assert "2 runs: 2 new; 2 to submit" in done.stdout
    assert not (project / "sweep").exists()


def test_dry_runs_and_refused_commands_leave_a_study_as_it_was(project: Path) -> None:
    study = ("x=1,2",)
    launch(project, *study)
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    assert launch(project, *study, "fail=9", "hydra.launcher.dry_run=true").returncode == 0
    assert launch(project, *study, "hydra.launcher.failed=bogus").returncode == 2
    after = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    assert after == before


def test_two_shells_that_issue_one_command_run_each_run_once(project: Path) -> None:
    command = [
        sys.executable, "app.py", "-m", "hydra/launcher=local", "hydra.sweep.dir=sweep", "x=1,2,3",
    ]  # fmt: skip
    shells = [
        subprocess.Popen(command, cwd=project, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    said = [shell.communicate(timeout=120)[1] for shell in shells]
    assert [shell.returncode for shell in shells] == [0, 0], said
    assert any("waiting for it" in text for text in said)
    assert [lives(project, number) for number in range(3)] == [["001-000.json"]] * 3


def test_the_debug_launcher_runs_in_this_process(project: Path) -> None:
    source = (project / "app.py").read_text()
    (project / "app.py").write_text(
        source.replace("import logging\n", "import logging\nimport os\n").replace(
            '"helper": helper.VALUE', '"pid": os.getpid()'
        )
    )
    done = launch(project, "x=1,2", launcher="debug")
    assert done.returncode == 0, done.stderr
    assert record(project, 0)["result"]["pid"] == record(project, 1)["pid"]  # type: ignore[index]
    assert record(project, 0)["pid"] == record(project, 1)["pid"]


def test_required_runs_that_studies_share_are_the_users_own_too(project: Path) -> None:
    done = launch(
        project, "x=1", "hydra.launcher.shared_dir=shared",
        "+hydra.launcher.requires.first=['x=2','hydra.launcher.requires.first=null']",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (shared,) = (project / "shared").iterdir()
    assert shared.stat().st_mode & 0o777 == 0o700


def test_slurm_is_refused_where_there_is_none(project: Path, tmp_path: Path) -> None:
    done = run(
        "app.py", "-m", "hydra/launcher=slurm", "x=1,2", "hydra.sweep.dir=sweep",
        cwd=project, env={"PATH": str(Path(sys.executable).parent)},
    )  # fmt: skip
    assert done.returncode == 2
    assert "there is no SLURM on this machine" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (project / "sweep").exists()


def test_more_than_this_machine_has_is_refused(project: Path) -> None:
    done = launch(project, "x=1", "hydra.launcher.resources.cpus_per_rank=4096")
    assert done.returncode == 2
    assert "asks for 4096 CPUs" in done.stderr


def test_half_of_a_shape_is_refused(project: Path) -> None:
    done = launch(project, "x=1", "hydra.launcher.tasks_per_node=4")
    assert done.returncode == 2
    assert "contradicts the shape" in done.stderr


def test_local_runs_cannot_be_left_alone(project: Path) -> None:
    done = launch(project, "x=1", "hydra.launcher.wait=false")
    assert done.returncode == 2
    assert "local runs are started by the command that waits" in done.stderr
    assert not (project / "sweep").exists()


def test_a_study_folder_is_the_users_own_but_one_that_was_there_keeps_its_mode(
    project: Path,
) -> None:
    launch(project, "x=1")
    assert (project / "sweep").stat().st_mode & 0o777 == 0o700
    old = project / "old"
    old.mkdir(mode=0o755)
    (old / "mine.txt").touch()
    run("app.py", "-m", "hydra/launcher=local", "hydra.sweep.dir=old", "x=1", cwd=project)
    assert old.stat().st_mode & 0o777 == 0o755
    assert (old / "0").stat().st_mode & 0o777 == 0o700


def test_ctrl_c_stops_the_local_runs_and_the_same_command_finishes_them(project: Path) -> None:
    command = [
        sys.executable, "app.py", "-m", "hydra/launcher=local", "hydra.sweep.dir=sweep",
        "x=1,2,3", "wait_for=/nowhere/gate",
    ]  # fmt: skip
    process = subprocess.Popen(
        command, cwd=project, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        wait_for_file(project, "sweep/0/attempts/001-000.json")
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert "interrupted: the local runs were stopped" in said
    again = launch(project, "x=1,2,3")
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("as submitted") == 3


def test_a_study_of_any_program_is_read_back_from_python(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("app.py", "-m", "hydra/launcher=local", "hydra.sweep.dir=outputs/s", "x=1,2", cwd=project)
    folder = project / "notebooks"
    folder.mkdir()
    monkeypatch.chdir(folder)
    study = read_study(root="../outputs")
    rows = [result.row() for result in study.results()]
    assert [row["double"] for row in rows] == [2.0, 4.0]
    assert [row["x"] for row in rows] == ["1", "2"]
    assert [result.config.x for result in study.results()] == [1, 2]
    assert study.frame()["state"].tolist() == ["completed", "completed"]
    assert study.histories().empty


def test_runs_that_differ_in_nothing_that_counts_are_refused_by_name(project: Path) -> None:
    done = launch(project, "+launcher=a,b")
    assert done.returncode == 2
    assert "runs `+launcher=a` and `+launcher=b` are the same run" in done.stderr
    assert not (project / "sweep").exists()
    done = launch(project, "+launcher=a,b", "hydra.launcher.key_exclude=[hydra]")
    assert done.returncode == 0, done.stderr


def test_a_folder_that_a_living_run_uses_is_not_given_to_another(project: Path) -> None:
    gate = "wait_for=/nowhere/gate"
    command = [
        sys.executable, "app.py", "-m", "hydra/launcher=local", "hydra.sweep.dir=sweep", "x=1",
        gate,
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=project, stderr=subprocess.DEVNULL)
    try:
        wait_for_file(project, "sweep/0/attempts/001-000.json")
        other = launch(project, "x=5")
        assert other.returncode == 2
        assert "is that of another run, `base`, which is running" in other.stderr
        process.terminate()
        assert process.wait(timeout=60) == 130
    finally:
        process.kill()
        process.wait()
    after = launch(project, "x=5")
    assert after.returncode == 0, after.stderr


def test_names_that_look_like_markup_are_shown_as_they_are(project: Path) -> None:
    done = launch(project, "x=1,2", "+note='[/red]','[bold]'")
    assert done.returncode == 0, done.stderr
    assert "note='[/red]'" in done.stdout
    listed = run(Path(sys.executable).with_name("launch"), "list", "--root", ".", cwd=project)
    assert "[/red]" in listed.stdout, listed.stderr


def test_a_task_may_return_its_config(project: Path) -> None:
    source = (project / "app.py").read_text()
    source = source.replace('return {"double"', 'return config or {"double"')
    (project / "app.py").write_text(source)
    done = launch(project, "x=1,2", "+number='${hydra:job.num}'")
    assert done.returncode == 0, done.stderr


def test_batches_of_one_command_are_one_study_with_names_that_tell_runs_apart(
    project: Path,
) -> None:
    done = launch(project, "x=1,2,3", "hydra.sweeper.max_batch_size=1")
    assert done.returncode == 0, done.stderr
    entries = json.loads((project / "sweep" / "study.json").read_text())["runs"]
    assert [entry["name"] for entry in entries] == ["x=1", "x=2", "x=3"]


def test_a_switch_of_the_command_is_no_change_of_a_run(project: Path) -> None:
    config = project / "conf" / "config.yaml"
    config.write_text(config.read_text() + "wait: null\n")
    command = ("x=1,2", "fail=2", "hydra.launcher.key_exclude=[wait]")
    launch(project, *command)
    again = launch(project, *command, "wait=true")
    assert "2 runs: 1 done, 1 changed; 1 to submit" not in again.stderr
    assert "0 to submit" in again.stderr
