"""The record of the attempt outranks the scheduler; silence after an end is a failure."""

import pytest

from launcher.records import AttemptRecord, CancelRecord, SubmissionRecord
from launcher.scheduler.base import JobStatus
from launcher.states import run_state
from tests.unit.launcher.samples import submission

SENT = submission()
STARTED = AttemptRecord(
    attempt="001-000", key="k", job_id="1", host="h", pid=1, world_size=1, started=""
)
CANCELLED = CancelRecord(number=1, time="")
DONE = STARTED.model_copy(update={"outcome": "completed"})
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
    assert run_state(sent, last, status) == expected


def test_a_process_that_ended_without_a_word_has_failed() -> None:
    state, reason = run_state(SENT, STARTED, job("ended"))
    assert state == "failed"
    assert "no outcome" in reason


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
    assert run_state(SENT, last, status, CANCELLED)[0] == expected


def test_the_cancelling_of_an_earlier_sending_does_not_count() -> None:
    again = SENT.model_copy(update={"number": 2})
    assert run_state(again, None, job("pending"), CANCELLED)[0] == "pending"
