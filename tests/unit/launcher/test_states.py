"""The record of the attempt outranks the scheduler; silence after an end is a failure."""

import pytest

from launcher.records import AttemptRecord, SubmissionRecord
from launcher.scheduler.base import JobStatus
from launcher.states import run_state

SENT = SubmissionRecord(
    key="k", number=1, scheduler="slurm", token="t", submitted="", shape="", code=""
)
STARTED = AttemptRecord(
    attempt="001-000", key="k", job_id="1", host="h", pid=1, world_size=1, started=""
)
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
