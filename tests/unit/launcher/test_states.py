"""The record of the attempt outranks the scheduler; silence after an end is a failure."""

from typing import Any

import pytest

from launcher.records import AttemptRecord, CancelRecord, SubmissionRecord, VerdictRecord
from launcher.scheduler.base import JobStatus
from launcher.states import run_state
from tests.unit.launcher.samples import submission

SENT = submission()
STARTED = AttemptRecord(
    attempt="001-000", key="k", job_id="1", host="h", pid=1, world_size=1, started=""
)
CANCELLED = CancelRecord(number=1, time="")
DONE = STARTED.model_copy(update={"outcome": "completed"})
CRASHED = STARTED.model_copy(update={"outcome": "crash", "error": "lost a peer"})
FAILED = STARTED.model_copy(update={"outcome": "task_error", "error": "ValueError: x"})


def job(state: str, reason: str = "") -> JobStatus:
    return JobStatus(state=state, reason=reason)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sent", "last", "status", "expected"),
    [
        (None, None, None, ("new", "")),
        (SENT, None, job("pending", "Priority"), ("pending", "Priority")),
        (SENT, None, job("waiting", "Dependency"), ("waiting", "Dependency")),
        (SENT, None, job("running"), ("running", "starting")),
        (SENT, STARTED, job("running"), ("running", "")),
        (SENT, DONE, job("running"), ("completed", "")),
        (SENT, DONE, job("unknown"), ("completed", "")),
        (SENT, FAILED, job("ended"), ("failed", "ValueError: x")),
        (SENT, CRASHED, job("pending"), ("pending", "goes on after: lost a peer")),
        (SENT, CRASHED, job("unknown", "no answer"), ("unknown", "no answer")),
        (SENT, STARTED, job("ended", "OUT_OF_MEMORY"), ("failed", "OUT_OF_MEMORY")),
        (
            SENT,
            STARTED,
            job("unknown", "squeue gave no answer"),
            ("unknown", "squeue gave no answer"),
        ),
        (SENT, STARTED, None, ("running", "")),
        (SENT, None, None, ("pending", "")),
    ],
)
def test_state_follows_from_the_evidence(
    sent: SubmissionRecord | None,
    last: AttemptRecord | None,
    status: JobStatus | None,
    expected: tuple[str, str],
) -> None:
    standing = run_state(sent, last, status)
    assert (standing.state, standing.reason) == expected


def test_a_process_that_ended_without_a_word_has_failed() -> None:
    standing = run_state(SENT, STARTED, job("ended"))
    assert standing.state == "failed"
    assert standing.is_lost
    assert "no outcome" in standing.reason


@pytest.mark.parametrize(
    ("last", "status", "expected"),
    [
        (None, job("held"), "cancelled"),
        (None, job("pending"), "pending"),
        (STARTED, job("running"), "running"),
        (STARTED, job("ended"), "cancelled"),
        (FAILED, job("ended"), "cancelled"),
        (DONE, job("ended"), "completed"),
        (STARTED, None, "cancelled"),
    ],
)
def test_a_cancelled_run_stays_so_unless_it_completed(
    last: AttemptRecord | None, status: JobStatus | None, expected: str
) -> None:
    assert run_state(SENT, last, status, CANCELLED).state == expected


def test_the_cancelling_of_an_earlier_sending_does_not_count() -> None:
    again = SENT.model_copy(update={"number": 2})
    assert run_state(again, None, job("pending"), CANCELLED).state == "pending"


def verdict(outcome: str, action: str, attempt: str = "001-000", **changes: Any) -> VerdictRecord:
    known: dict[str, Any] = {"key": "k", "job_id": "1", "time": "", "by": "guard", "acted": "now"}
    known.update(attempt=attempt, outcome=outcome, action=action, evidence=["log: x"])
    return VerdictRecord(**{**known, **changes})


GOES_ON = verdict("walltime", "requeue", saved_step=120)
SPENT = verdict("crash", "stop", note="budget spent: 1 retry after crash, at most 1")
STAYS_CANCELLED = verdict("cancelled", "stop")
MORE_MEMORY = verdict("host_oom", "requeue_changed", note="next: 12 GB per node instead of 8 GB")
SECOND = STARTED.model_copy(update={"attempt": "001-001"})


@pytest.mark.parametrize(
    ("last", "status", "known", "expected"),
    [
        (
            STARTED,
            job("pending"),
            GOES_ON,
            ("pending", "goes on at step 120 after walltime (attempt 2)"),
        ),
        (
            STARTED,
            job("running"),
            GOES_ON,
            ("pending", "goes on at step 120 after walltime (attempt 2)"),
        ),
        (
            STARTED,
            job("pending", "Priority"),
            GOES_ON,
            ("pending", "goes on at step 120 after walltime (attempt 2); Priority"),
        ),
        (
            STARTED,
            job("pending", "JobHeldUser"),
            verdict("walltime", "requeue", acted=None),
            (
                "pending",
                "goes on after walltime (attempt 2); JobHeldUser; `launch resume` sees to it",
            ),
        ),
        (
            SECOND,
            job("running"),
            GOES_ON,
            ("running", "went on at step 120 after walltime (attempt 2)"),
        ),
        (
            STARTED,
            None,
            MORE_MEMORY,
            ("pending", "goes on after host_oom (attempt 2), 12 GB per node instead of 8 GB"),
        ),
        (STARTED, job("ended"), GOES_ON, ("failed", "walltime; its job is gone")),
        (
            STARTED,
            job("ended"),
            verdict("walltime", "requeue", acted=None, failure="scontrol: no"),
            ("failed", "walltime; scontrol: no"),
        ),
        (STARTED, job("unknown", "silent"), GOES_ON, ("unknown", "silent")),
        (
            STARTED,
            job("ended"),
            SPENT,
            ("failed", "crash, budget spent: 1 retry after crash, at most 1: log: x"),
        ),
        (FAILED, job("ended"), verdict("task_error", "stop"), ("failed", "ValueError: x")),
        (STARTED, job("ended"), STAYS_CANCELLED, ("cancelled", "log: x")),
        (STARTED, job("running"), STAYS_CANCELLED, ("running", "being cancelled")),
        (None, job("ended"), STAYS_CANCELLED, ("cancelled", "log: x")),
        (DONE.model_copy(update={"attempt": "001-001"}), job("ended"), GOES_ON, ("completed", "")),
        # another rank failed after rank 0 had completed
        (DONE, job("ended"), verdict("task_error", "stop"), ("failed", "log: x")),
    ],
)
def test_a_verdict_says_whether_a_run_goes_on(
    last: AttemptRecord | None,
    status: JobStatus | None,
    known: VerdictRecord,
    expected: tuple[str, str],
) -> None:
    standing = run_state(SENT, last, status, verdict=known)
    assert (standing.state, standing.reason) == expected


def test_only_what_is_meant_to_go_on_and_has_no_job_is_lost() -> None:
    crashed = FAILED.model_copy(update={"outcome": "crash"})
    lost = [
        run_state(SENT, STARTED, job("ended")),
        run_state(SENT, STARTED, job("ended"), verdict=GOES_ON),
        run_state(SENT, crashed, job("ended")),
    ]
    assert all(standing.is_lost for standing in lost)
    kept = [
        run_state(SENT, STARTED, job("ended"), verdict=SPENT),
        run_state(SENT, STARTED, job("ended"), verdict=STAYS_CANCELLED),
        run_state(SENT, STARTED, job("pending"), verdict=GOES_ON),
        run_state(SENT, FAILED, job("ended")),
        run_state(SENT, crashed, job("running")),
    ]
    assert not any(standing.is_lost for standing in kept)


def test_a_rank_that_failed_is_not_the_end_while_the_guard_concludes() -> None:
    crashed = FAILED.model_copy(update={"outcome": "crash"})
    standing = run_state(SENT, crashed, job("running"))
    assert (standing.state, standing.reason) == ("running", "ending: ValueError: x")
