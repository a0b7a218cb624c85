"""While a scheduler does not answer, what it last said is shown and marked as such."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from launcher import files, store
from launcher.cached import SchedulerRecord, remembered_status
from launcher.records import RunEntry, StudyRecord, SubmissionRecord
from launcher.scheduler.base import JobStatus
from launcher.studies import Study
from tests.unit.launcher.samples import attempt, submission

RUNNING = JobStatus(state="running", node="node1")
PENDING = JobStatus(state="pending", reason="Priority")
SILENT = JobStatus(state="unknown", reason="SLURM does not answer")


class FakePoller:
    """Answers what a test says, of the jobs that it was told to watch."""

    def __init__(self, **jobs: JobStatus) -> None:
        self.jobs = jobs
        self.watched: dict[str, str] = {}

    def owns(self, sent: SubmissionRecord) -> bool:
        return True

    def watch(self, key: str, job_id: str) -> None:
        self.watched[key] = job_id

    def poll(self) -> dict[str, JobStatus]:
        return {key: self.jobs.get(key, JobStatus(state="ended")) for key in self.watched}


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Three runs that a scheduler has; `a` has started, `c` is done."""
    for key in "abc":
        store.write_submission(tmp_path / key, submission(key=key, job_id=f"1{key}"))
    for key, outcome in (("a", None), ("c", "completed")):
        path = store.attempt_path(tmp_path / key, "001-000")
        store.write_record(path, attempt(key=key, outcome=outcome))
    entries = [RunEntry(key=key, name=key, overrides=[f"x={key}"], run_dir=key) for key in "abc"]
    record = StudyRecord(study_id="s", created=files.now(), command=[], overrides=[], runs=entries)
    store.write_record(tmp_path / "study.json", record)
    return Study(tmp_path)


def shown(study: Study, poller: FakePoller | None) -> tuple[dict[str, tuple[str, str]], str]:
    found, caveat = remembered_status(study, poller)
    return {status.key: (status.state, status.reason) for status in found}, caveat


def test_an_answer_is_shown_without_a_caveat_and_kept(study: Study) -> None:
    states, caveat = shown(study, FakePoller(a=RUNNING, b=PENDING))
    assert caveat == ""
    assert (states["a"], states["b"]) == (("running", ""), ("pending", "Priority"))
    kept = store.read_record(study.path / "scheduler.json", SchedulerRecord)
    assert (kept.jobs["a"], kept.jobs["b"]) == (RUNNING, PENDING)


def test_without_an_answer_the_last_one_is_shown_and_marked(study: Study) -> None:
    shown(study, FakePoller(a=RUNNING, b=PENDING))
    kept = store.read_record(study.path / "scheduler.json", SchedulerRecord)
    states, caveat = shown(study, FakePoller(a=SILENT, b=SILENT, c=SILENT))
    assert states == {
        "a": ("running", "then"),
        "b": ("pending", "then Priority"),
        "c": ("completed", ""),
    }
    assert caveat.startswith("SLURM does not answer; ")
    assert kept.time in caveat
    assert "`then`" in caveat


def test_silence_does_not_overwrite_the_last_answer(study: Study) -> None:
    shown(study, FakePoller(a=RUNNING, b=PENDING))
    before = (study.path / "scheduler.json").read_bytes()
    for _ in range(2):
        shown(study, FakePoller(a=SILENT, b=SILENT, c=SILENT))
    assert (study.path / "scheduler.json").read_bytes() == before


def test_without_any_earlier_answer_this_is_said_and_what_the_records_prove_is_shown(
    study: Study,
) -> None:
    states, caveat = shown(study, FakePoller(a=SILENT, b=SILENT, c=SILENT))
    assert "there is no earlier answer" in caveat
    assert states == {
        "a": ("unknown", "SLURM does not answer"),
        "b": ("unknown", "SLURM does not answer"),
        "c": ("completed", ""),
    }
    assert not (study.path / "scheduler.json").exists()


def test_a_run_of_which_the_last_answer_says_nothing_stays_unknown(study: Study) -> None:
    record = SchedulerRecord(time="2026-01-02T03:04:05+00:00", jobs={"a": RUNNING})
    store.write_record(study.path / "scheduler.json", record)
    states, _ = shown(study, FakePoller(a=SILENT, b=SILENT, c=SILENT))
    assert states["a"][0] == "running"
    assert states["b"] == ("unknown", "SLURM does not answer")


def test_what_the_records_say_by_now_outranks_the_last_answer(study: Study) -> None:
    shown(study, FakePoller(a=RUNNING, b=PENDING))
    path = store.attempt_path(study.path / "b", "001-000")
    store.write_record(path, attempt(key="b", outcome="completed"))
    states, _ = shown(study, FakePoller(a=SILENT, b=SILENT, c=SILENT))
    assert states["b"] == ("completed", "")


def test_a_folder_that_is_not_ours_to_write_is_looked_at_all_the_same(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    states, caveat = shown(study, FakePoller(a=RUNNING, b=PENDING))
    assert (states["b"][0], caveat) == ("pending", "")
    assert not (study.path / "scheduler.json").exists()


def test_without_a_scheduler_the_records_alone_decide(study: Study) -> None:
    states, caveat = shown(study, None)
    assert caveat == ""
    assert [states[key][0] for key in "abc"] == ["running", "pending", "completed"]


def test_a_damaged_last_answer_counts_as_none(study: Study) -> None:
    (study.path / "scheduler.json").write_text("{")
    states, caveat = shown(study, FakePoller(a=SILENT, b=SILENT, c=SILENT))
    assert states["c"] == ("completed", "")
    assert "SLURM does not answer" in caveat


def test_a_damaged_last_answer_is_replaced_by_the_next(study: Study) -> None:
    (study.path / "scheduler.json").write_text("{")
    states, caveat = shown(study, FakePoller(a=RUNNING, b=PENDING))
    assert (states["a"][0], caveat) == ("running", "")
    assert store.read_record(study.path / "scheduler.json", SchedulerRecord).jobs["a"] == RUNNING
