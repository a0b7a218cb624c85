"""A command waits for the runs that it was asked to wait for, and for no others."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest

from launcher import files, store
from launcher.follow import follow
from launcher.records import RunEntry, StudyRecord, SubmissionRecord
from launcher.scheduler.base import JobStatus
from launcher.studies import Study
from tests.unit.launcher.samples import attempt, submission


class Endless:
    """A scheduler whose jobs run for ever."""

    def owns(self, sent: SubmissionRecord) -> bool:
        return True

    def watch(self, key: str, job_id: str) -> None:
        pass

    def poll(self) -> dict[str, JobStatus]:
        return {"running": JobStatus(state="running")}


class WaitedError(Exception):
    """It looked once and would look again."""


@pytest.fixture
def study(tmp_path: Path) -> Study:
    for key in ("done", "running"):
        store.write_submission(tmp_path / key, submission(key=key, job_id="1"))
    done = attempt(key="done", outcome="completed")
    store.write_record(store.attempt_path(tmp_path / "done", "001-000"), done)
    entries = [
        RunEntry(key=key, name=key, overrides=[], run_dir=key) for key in ("done", "running")
    ]
    record = StudyRecord(study_id="s", created=files.now(), command=[], overrides=[], runs=entries)
    store.write_record(tmp_path / "study.json", record)
    return Study(tmp_path)


def sleep(seconds: float) -> None:
    raise WaitedError


@pytest.mark.parametrize("only", [{"done"}, set()])
def test_runs_that_nobody_asked_for_are_not_waited_for(study: Study, only: Collection[str]) -> None:
    ended = follow(study, Endless(), poll_s=1, sleep=sleep, only=only)  # type: ignore[arg-type]
    assert [status.state for status in ended] == ["completed", "running"]


@pytest.mark.parametrize("only", [None, {"running"}, {"done", "running"}])
def test_a_run_that_was_asked_for_is_waited_for(study: Study, only: Collection[str] | None) -> None:
    with pytest.raises(WaitedError):
        follow(study, Endless(), poll_s=1, sleep=sleep, only=only)  # type: ignore[arg-type]


def test_a_run_that_will_never_start_is_not_waited_for(study: Study) -> None:
    scheduler = Endless()
    ended = follow(study, scheduler, 1, sleep, blocked={"running"})  # type: ignore[arg-type]
    assert len(ended) == 2
