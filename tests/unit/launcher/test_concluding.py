"""An attempt is concluded once, by whoever comes first; what is cancelled meanwhile stays so."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from launcher import concluding, gathering, lease, nodes, store
from launcher.concluding import conclude
from launcher.errors import StoreError, SubmissionError
from launcher.records import CancelRecord, VerdictRecord
from launcher.scheduler.facts import Account, JobFacts
from tests.unit.launcher.samples import attempt, submission

RUNNING = JobFacts(state="RUNNING", nodes=("gl001",), mem_gb=8.0)


@dataclass
class Job:
    """A job that remembers what was done with it."""

    facts_: JobFacts | None = RUNNING
    error: SubmissionError | None = None
    done: list[Any] = field(default_factory=list)

    def facts(self) -> JobFacts | None:
        if self.error is not None:
            raise self.error
        return self.facts_

    def account(self, since_s: float | None, restart: int) -> Account | None:
        return None

    def nodes(self, partition: str) -> list[tuple[str, float]]:
        return [(name, 64.0) for name in ("gl001", "gl002")]

    def requeue(self) -> None:
        self.done.append("requeue")

    def change(self, *, mem_gb: float | None, exclude: Sequence[str]) -> None:
        self.done.append((mem_gb, list(exclude)))


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run of a study that was sent to SLURM."""
    folder = tmp_path / "study" / "0"
    batch = str(tmp_path / "study" / "batches" / "t.json")
    store.write_submission(folder, submission(scheduler="slurm", batch=batch))
    store.write_record(store.attempt_path(folder, "001-000"), attempt())
    return folder


def end(run_dir: Path, **changes: Any) -> None:
    ended = attempt(ended="2026-01-01T00:10:00+00:00", **changes)
    store.write_record(store.attempt_path(run_dir, "001-000"), ended)


def concluded(run_dir: Path, job: Job, by: str = "guard") -> VerdictRecord:
    verdict = conclude(run_dir, "001-000", by=by, control=job)
    assert verdict is not None
    return verdict


def test_a_completed_run_needs_no_verdict_and_nobody_is_asked(run_dir: Path) -> None:
    end(run_dir, outcome="completed")
    silent = Job(error=SubmissionError("nobody may ask"))
    assert conclude(run_dir, "001-000", by="guard", control=silent) is None
    assert store.verdict(run_dir, "001-000") is None


def test_a_verdict_is_written_before_it_is_carried_out(run_dir: Path) -> None:
    end(run_dir, outcome="crash", error="lost")

    class Watching(Job):
        def requeue(self) -> None:
            self.done.append(store.verdict(run_dir, "001-000"))

    job = Watching()
    verdict = concluded(run_dir, job)
    (before,) = job.done
    assert (before.action, before.acted) == ("requeue", None)
    assert verdict.acted is not None
    assert store.verdict(run_dir, "001-000") == verdict


def test_of_many_only_one_concludes_and_acts(run_dir: Path) -> None:
    end(run_dir, outcome="crash", error="lost")
    job = Job()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: concluded(run_dir, job, by="rank 0"), range(8)))
    assert job.done == ["requeue"]
    assert {verdict.time for verdict in found} == {found[0].time}


def test_what_could_not_be_carried_out_is_said_and_done_later(run_dir: Path) -> None:
    end(run_dir, outcome="crash", error="lost")
    away = Job(error=SubmissionError("scontrol: connection refused"))
    verdict = concluded(run_dir, away)
    assert (verdict.acted, verdict.failure) == (None, "scontrol: connection refused")
    assert any("did not answer" in sentence for sentence in verdict.evidence)
    back = Job()
    again = concluded(run_dir, back, by="launch")
    assert (back.done, again.acted is not None) == (["requeue"], True)
    assert concluded(run_dir, back, by="launch") == again
    assert back.done == ["requeue"]


def test_rank_0_leaves_to_the_guard_what_it_cannot_tell(run_dir: Path) -> None:
    end(run_dir, stop_signal="SIGTERM")
    assert conclude(run_dir, "001-000", by="rank 0", control=Job()) is None
    assert store.verdict(run_dir, "001-000") is None
    assert concluded(run_dir, Job()).outcome == "crash"


@pytest.mark.parametrize("how", ["marker", "CANCELLED", "COMPLETING"])
def test_a_run_that_is_cancelled_meanwhile_is_not_brought_back(run_dir: Path, how: str) -> None:
    end(run_dir, outcome="crash", error="lost")

    class Late(Job):
        asked = 0

        def facts(self) -> JobFacts | None:
            self.asked += 1
            if self.asked == 1:  # for the evidence
                return RUNNING
            if how == "marker":
                path = run_dir / "cancelled.json"
                store.write_record(path, CancelRecord(number=1, time="now"))
                return RUNNING
            return replace(RUNNING, state=how)

    job = Late()
    verdict = concluded(run_dir, job)
    assert (verdict.outcome, verdict.action, job.done) == ("cancelled", "stop", [])
    assert verdict.acted is not None


def test_a_job_that_slurm_has_requeued_is_left_alone(run_dir: Path) -> None:
    job = Job(replace(RUNNING, restarts=1))
    verdict = concluded(run_dir, job)
    assert (verdict.outcome, verdict.action, job.done) == ("node_failure", "none", [])
    assert verdict.note == "SLURM has requeued it"


def test_a_requeue_by_hand_is_not_held_against_the_node(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = lease.Lease(attempt="001-000", job_id="5", time="2026-01-01T00:00:00+00:00")
    lease.take(run_dir, held, has_ended=lambda _: True, waiting=lambda _: None)
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    monkeypatch.delenv("SLURM_RESTART_COUNT", raising=False)
    verdict = concluded(run_dir, Job(replace(RUNNING, restarts=1)))
    assert (verdict.outcome, verdict.action) == ("preempted", "none")
    assert not (run_dir.parent / "nodes").exists()


def test_what_slurm_said_before_the_first_life_made_its_mark_counts_for_it(
    run_dir: Path, tmp_path: Path
) -> None:
    log = tmp_path / "5_0_log.out"
    said = "slurmstepd: error: *** JOB 5 ON gl001 CANCELLED AT now DUE TO JOB REQUEUE ***\n"
    held = lease.Lease(
        attempt="001-001", job_id="5", time="2026-01-01T00:00:00+00:00", log=str(log)
    )
    lease.take(run_dir, held, has_ended=lambda _: True, waiting=lambda _: None)

    def lives() -> list[bool]:
        names = ("001-000", "001-001")
        found = [gathering.from_files(run_dir, submission(), name) for name in names]
        return ["REQUEUE" in gathering.from_log(one, run_dir).log for one in found]

    log.write_text(f"{said}{gathering.MARK} 001-000, job 5\n{gathering.MARK} 001-001, job 5\n")
    assert lives() == [True, False]
    log.write_text(f"{said}{gathering.MARK} 001-001, job 5\n")
    assert lives() == [True, False]


def test_memory_is_changed_and_kept_for_the_next_lives(run_dir: Path) -> None:
    end(run_dir, outcome="host_oom", error="MemoryError")
    job = Job()
    verdict = concluded(run_dir, job)
    assert job.done == [(12.0, [])]
    assert (verdict.adjustments.mem_gb, verdict.adjustments.mem_first_gb) == (12.0, 8.0)
    sent = store.submission(run_dir)
    assert sent is not None
    assert store.adjustments(run_dir, sent) == verdict.adjustments


@pytest.mark.parametrize("number", [1, 3])
def test_a_rung_with_config_keys_reads_the_frozen_config_and_needs_no_change_of_the_job(
    run_dir: Path, number: int
) -> None:
    """Runs that are sent again have the config of the first sending."""
    sent = store.submission(run_dir)
    assert sent is not None
    recovery = {"memory_ladder": [{"data.num_workers": 2}]}
    again = sent.model_copy(update={"recovery": recovery, "number": number})
    store.write_submission(run_dir, again)
    path = store.submission_dir(run_dir, 1) / "config.yaml"
    path.write_text("data: {num_workers: 8, path: '${oc.env:NOWHERE}'}\n")
    life = f"{number:03d}-000"
    how = {"outcome": "host_oom", "error": "MemoryError", "ended": "2026-01-01T00:10:00+00:00"}
    ended = attempt(attempt=life, **how)
    store.write_record(store.attempt_path(run_dir, life), ended)
    job = Job()
    verdict = conclude(run_dir, life, by="guard", control=job)
    assert verdict is not None
    assert verdict.adjustments.config == {"data.num_workers": 2}
    assert (verdict.action, job.done) == ("requeue_changed", ["requeue"])


def test_a_node_that_fails_twice_is_avoided_by_the_study(run_dir: Path) -> None:
    study = run_dir.parent
    concluded(run_dir, Job(replace(RUNNING, state="NODE_FAIL")))
    assert [path.name for path in (study / "nodes" / "gl001").iterdir()] == ["k-001-000"]
    assert nodes.failing(study) == []
    nodes.note_failure(study, "gl001", "other", "001-000")
    assert nodes.failing(study) == ["gl001"]


@pytest.mark.parametrize(
    ("newest", "progressed"), [("fit-00/step-000000010", False), ("fit-01/step-000000005", True)]
)
def test_progress_is_a_checkpoint_that_earlier_lives_did_not_have(
    run_dir: Path, newest: str, progressed: bool
) -> None:
    earlier = concluded(run_dir, Job()).model_copy(update={"checkpoint": "fit-00/step-000000010"})
    concluding.rewrite(run_dir, earlier)
    path = run_dir / "checkpoints" / "resume" / f"{newest}.json"
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    store.write_record(store.attempt_path(run_dir, "001-001"), attempt(attempt="001-001"))
    verdict = conclude(run_dir, "001-001", by="guard", control=Job(replace(RUNNING, restarts=1)))
    assert verdict is not None
    assert (verdict.checkpoint, verdict.progressed) == (newest, progressed)
    assert verdict.saved_step == int(newest.rpartition("-")[2])


def test_an_attempt_of_a_sending_that_is_gone_is_an_error(run_dir: Path) -> None:
    with pytest.raises(StoreError, match="no submission 2"):
        conclude(run_dir, "002-000", by="guard", control=Job())


def test_only_the_lines_of_its_own_life_count(run_dir: Path, tmp_path: Path) -> None:
    log = tmp_path / "it's 5_0_log.out"
    other = tmp_path / "it's 5_1_log.out"
    oom = "srun: error: gl001: task 1: Out Of Memory\n"
    log.write_text(f"{gathering.MARK} 001-000, job 5\n{oom}")
    other.write_text("of the first life\n")
    gathering.mark(log, "001-001", 2, ", job 5")
    with log.open("a") as file:
        file.write(f"{gathering.MARK} 001-001, job 5\nall is well\n")
    with other.open("a") as file:
        file.write("second\n")
    held = lease.Lease(
        attempt="001-001", job_id="5", time="2026-01-01T00:00:00+00:00", log=str(log)
    )
    lease.take(run_dir, held, has_ended=lambda _: True, waiting=lambda _: None)
    sent = submission(shape=replace(submission().shape, ranks_per_node=2))
    lives = [
        gathering.from_log(gathering.from_files(run_dir, sent, name), run_dir).log
        for name in ("001-000", "001-001")
    ]
    assert lives == [f"\n{oom}\nof the first life\n", "\nall is well\n\n\nsecond\n"]
