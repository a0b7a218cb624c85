"""A run that follows one of another study waits for it under SLURM, and never sends it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from launcher import files, snapshot, store
from launcher.following import Followed, overrides_after
from launcher.records import BatchPart, BatchRecord, CancelRecord, RunEntry
from launcher.scheduler.base import JobStatus
from launcher.snapshot import Snapshot
from launcher.submit import Submission
from tests.unit.launcher.samples import submission
from tests.unit.launcher.test_submit import Silent, run_of

JOB_ID = "77"


class Queued(Silent):
    """A SLURM in which every job waits."""

    def poll(self) -> dict[str, JobStatus]:
        return {key: JobStatus(state="pending", reason="Priority") for key in self._ids}


@pytest.fixture
def evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Submission:
    """Evaluates a training that waits in the queue under a job id of its own study."""
    code = Snapshot(root=tmp_path, sha="c0de", contents={})
    monkeypatch.setattr(snapshot, "current", lambda: code)
    batch = store.batch_path(tmp_path / "trained", "t")
    sent = submission(key="t", scheduler="slurm", token="t" * 12, index=0, batch=str(batch))
    store.write_submission(tmp_path / "trained" / "t", sent)
    part = BatchPart(first=0, last=0, job_id=JOB_ID)
    folder = str(tmp_path / "trained" / "t" / "submissions" / "001")
    record = BatchRecord(token="t" * 12, created=files.now(), submissions=[folder], parts=[part])
    store.write_record(batch, record)
    training = replace(run_of(tmp_path / "trained", "t"), is_followed=True)
    after = replace(run_of(tmp_path / "evaluated", "e"), requires={"train": training})
    return Submission(
        study_dir=tmp_path / "evaluated",
        wanted=[after],
        scheduler_name="slurm",
        scheduler=Queued(folder=tmp_path / "evaluated" / ".submitit"),
        task_overrides=[],
    )


def test_an_evaluation_of_a_queued_training_is_sent_after_it_and_alone(
    evaluation: Submission,
) -> None:
    plan = evaluation.plan()
    assert [(row.run.key, row.action) for row in plan.rows] == [("t", "keep"), ("e", "submit")]
    (script,) = evaluation.scripts(plan)
    assert f"#SBATCH --dependency=afterok:{JOB_ID}\n" in script
    assert "--kill-on-invalid-dep=yes" in script


def test_a_training_that_was_cancelled_meanwhile_blocks_its_evaluation(
    evaluation: Submission, monkeypatch: pytest.MonkeyPatch
) -> None:
    (training,) = evaluation.wanted[0].requires.values()
    store.write_record(
        training.run_dir / "cancelled.json", CancelRecord(number=1, time=files.now())
    )
    monkeypatch.setattr(Queued, "poll", lambda self: {"t": JobStatus(state="ended")})
    plan = evaluation.plan()
    assert [row.action for row in plan.rows] == ["blocked", "blocked"]


def test_only_the_evaluations_own_folders_are_locked(evaluation: Submission) -> None:
    assert evaluation.lock_folders() == [evaluation.study_dir.absolute()]


def test_overrides_of_the_command_take_the_place_of_the_runs_own() -> None:
    overrides = ["backbone=ijepa", "scoring=auto", "+x=1", "data.fraction=0.1"]
    entry = RunEntry(key="k", name="n", overrides=overrides, run_dir="k")
    given = ["task=evaluate", "scoring=plain", "x=2"]
    found = overrides_after(Followed(entry=entry, inputs={}), given)
    assert found == ["backbone=ijepa", "data.fraction=0.1", *given]


def test_switches_of_the_command_that_sent_a_run_are_not_followed() -> None:
    overrides = ["force=true", "backbone=ijepa", "++failed=retry", "show_script=true"]
    entry = RunEntry(key="k", name="n", overrides=overrides, run_dir="k")
    found = overrides_after(Followed(entry=entry, inputs={}), ["scoring=plain"])
    assert found == ["backbone=ijepa", "scoring=plain"]
