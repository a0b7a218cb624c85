"""A command plans its runs beside what an earlier command declared and this one does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from launcher import files, measures, preflight, snapshot, store, ui
from launcher.compose import WantedRun
from launcher.errors import LauncherError, StoreError
from launcher.hydra_config import pickled
from launcher.measures import Measure
from launcher.records import BatchRecord, RunEntry, StudyRecord
from launcher.scheduler.client import QueuedJob
from launcher.scheduler.local import LocalScheduler
from launcher.scheduler.slurm import SlurmScheduler
from launcher.settings import StudyLauncherConf
from launcher.snapshot import Snapshot
from launcher.studies import Study
from launcher.submit import Submission
from tests.unit.launcher.samples import SHAPE, attempt, submission

TOKEN = "abcdef012345"


class Silent(SlurmScheduler):
    """A SLURM with an empty queue."""

    def queue(self) -> list[QueuedJob]:
        return []


def run_of(study: Path, key: str) -> WantedRun:
    return WantedRun(
        key=key,
        name=f"x={key}",
        overrides=(f"x={key}",),
        run_dir=study / key,
        pickle=pickled(OmegaConf.create({"x": key, "hydra": {}})),
        settings=StudyLauncherConf(),
        shape=SHAPE,
        profile_dir=study / "profiles" / "p",
    )


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study of the runs a and b; a is wanted still, b was sent and has started."""
    code = Snapshot(root=tmp_path, sha="c0de", contents={})
    monkeypatch.setattr(snapshot, "current", lambda: code)
    entries = [
        RunEntry(key=key, name=f"x={key}", overrides=[f"x={key}"], run_dir=key) for key in "ab"
    ]
    record = StudyRecord(study_id="s", created=files.now(), command=[], overrides=[], runs=entries)
    store.write_record(tmp_path / "study.json", record)
    for key in "ab":
        sent = submission(
            key=key,
            name=f"x={key}",
            scheduler="slurm",
            token=TOKEN,
            index="ab".index(key),
            batch=str(store.batch_path(tmp_path, key)),
        )
        store.write_submission(tmp_path / key, sent)
        batch = BatchRecord(
            token=TOKEN, created=files.now(), submissions=[str(tmp_path / key / "submissions/001")]
        )
        store.write_record(store.batch_path(tmp_path, key), batch)
    store.write_record(store.attempt_path(tmp_path / "b", "001-000"), attempt(key="b"))
    return tmp_path


def wanting(study: Path, *keys: str) -> Submission:
    return Submission(
        study_dir=study,
        wanted=[run_of(study, key) for key in keys],
        scheduler_name="slurm",
        scheduler=Silent(folder=study / ".submitit"),
        task_overrides=[],
    )


def damage(path: Path) -> None:
    assert path.exists()
    path.write_text("{")


RECORDS: dict[str, Callable[[Path, str], Path]] = {
    "submission": lambda study, key: study / key / "submissions" / "001" / "submission.json",
    "attempt": lambda study, key: study / key / "attempts" / "001-000.json",
}


@pytest.mark.parametrize("kind", sorted(RECORDS))
def test_a_damaged_record_of_a_dropped_run_is_said_and_blocks_nothing(
    kind: str, study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(RECORDS[kind](study, "b"))
    plan = wanting(study, "a", "c").plan()
    assert [(row.run.key, row.action) for row in plan.rows] == [("a", "submit"), ("c", "submit")]
    assert [status.key for status in plan.damaged] == ["b"]
    assert plan.unwanted == []
    ui.show_plan(plan, study, "slurm", everything=True)
    said = " ".join(capsys.readouterr().out.split())
    assert "no longer wanted, and left alone: x=b, " in said
    assert "is damaged" in said


def test_a_damaged_batch_of_a_dropped_run_that_never_started_is_said(study: Path) -> None:
    (study / "b" / "attempts" / "001-000.json").unlink()
    damage(store.batch_path(study, "b"))
    plan = wanting(study, "a").plan()
    assert [status.key for status in plan.damaged] == ["b"]


def test_a_damaged_batch_of_a_dropped_run_that_started_hides_nothing(study: Path) -> None:
    damage(store.batch_path(study, "b"))
    plan = wanting(study, "a").plan()
    assert plan.damaged == []


@pytest.mark.parametrize("kind", ["submission", "batch"])
def test_a_damaged_record_of_a_wanted_run_refuses_the_command(kind: str, study: Path) -> None:
    damage(RECORDS[kind](study, "a") if kind in RECORDS else store.batch_path(study, "a"))
    with pytest.raises(LauncherError, match="is damaged"):
        wanting(study, "a", "c").plan()


def test_a_damaged_attempt_of_a_wanted_run_refuses_the_command(study: Path) -> None:
    damage(RECORDS["attempt"](study, "b"))
    with pytest.raises(LauncherError, match="is damaged"):
        wanting(study, "b").plan()


def test_a_damaged_run_in_the_folder_of_a_wanted_one_refuses_the_command(study: Path) -> None:
    damage(RECORDS["attempt"](study, "b"))
    command = wanting(study, "a")
    command.wanted = [replace(run_of(study, "d"), run_dir=study / "b")]
    with pytest.raises(LauncherError, match="is damaged"):
        command.plan()


def test_a_damaged_dropped_run_stays_declared_as_unwanted(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(RECORDS["submission"](study, "b"))
    looks: list[Path] = []
    read = store.read_study

    def noted(folder: Path) -> StudyRecord:
        looks.append(folder)
        return read(folder)

    monkeypatch.setattr(store, "read_study", noted)
    done = attempt(key="a", outcome="completed")
    store.write_record(store.attempt_path(study / "a", "001-000"), done)
    plan = wanting(study, "a").apply(lambda config: None, ())
    assert looks == [study]
    assert plan.to_submit() == []
    record = Study(study).record
    assert ([e.key for e in record.runs], [e.key for e in record.unwanted]) == (["a"], ["b"])


def test_a_damaged_study_refuses_the_command(study: Path) -> None:
    (study / "study.json").write_text(json.dumps([]))
    with pytest.raises(StoreError):
        wanting(study, "a").plan()


def test_the_task_is_loaded_on_its_own_only_for_a_cluster_and_code_that_is_new(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[object] = []

    def subject_of(submission: Submission, runs: object, task: object) -> list[object]:
        loaded.append(task)
        return []

    monkeypatch.setattr(preflight, "subject_of", subject_of)
    monkeypatch.setattr(preflight, "inspect", lambda _: [])
    submission = wanting(study, "a")
    submission.check([], len)
    (study / "code" / "c0de").mkdir(parents=True)
    submission.check([], len)
    local = replace(submission, scheduler=LocalScheduler(folder=study), scheduler_name="local")
    (study / "code" / "c0de").rmdir()
    local.check([], len)
    assert loaded == [len, None, None]


def test_what_earlier_runs_took_is_read_once_for_a_command_and_anew_for_the_next(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []

    def remembered(profile_dir: Path) -> list[Measure]:
        read.append(profile_dir)
        return []

    monkeypatch.setattr(measures, "remembered", remembered)
    submission = wanting(study, "a")
    for _ in range(2):
        seen = preflight.subject_of(submission, submission.wanted, None)
        for run in [*seen.runs, *seen.runs]:
            assert seen.measures(run) == []
    assert read == [study / "profiles" / "p"] * 2
