"""Why an attempt ended: one row per outcome, per conflict, and with sources taken away."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from launcher.beats import Alarm, Beat
from launcher.outcomes import Evidence, classify
from launcher.records import AttemptRecord, CancelRecord
from launcher.scheduler.facts import Account, JobFacts
from tests.unit.launcher.samples import attempt

BEGAN_S = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
RUNNING = JobFacts(
    state="RUNNING", started_s=BEGAN_S, limit_min=60, nodes=("gl001", "gl002"), mem_gb=8.0
)
COMPLETING = replace(RUNNING, state="COMPLETING")
CANCELLED = CancelRecord(number=1, time="2026-01-01T00:10:00+00:00")
TERMINATED = "slurmstepd-gl001: error: *** {} 5 ON gl001 CANCELLED AT 2026-01-01T00:10:00{} ***"
STEP_OOM = "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=5.0. Some of your processes"
KILLED = "srun: error: gl002: task 3: Killed"


def record(after_min: float = 10, **changes: Any) -> AttemptRecord:
    """Rank 0's record of an attempt that ended so many minutes after its begin."""
    stamp = datetime.fromtimestamp(BEGAN_S + after_min * 60, UTC).isoformat(timespec="seconds")
    return attempt(host="gl001", ended=stamp, **changes)


def failed(outcome: str | None, error: str = "E: x", after_min: float = 10, **changes: Any) -> Any:
    return record(after_min, outcome=outcome, error=error, **changes)


def stopped(signal: str, after_min: float = 10) -> AttemptRecord:
    return record(after_min, stop_signal=signal)


def job_line(cause: str = "") -> str:
    return TERMINATED.format("JOB", cause and f" DUE TO {cause}")


def beat(rank: int, **changes: Any) -> Beat:
    known = {
        "host": f"gl00{rank + 1}",
        "pid": 1,
        "time": "2026-01-01T00:10:00+00:00",
        "phase": "training",
        "since": "",
    }
    return Beat(rank=rank, **{**known, **changes})


def evidence(**known: Any) -> Evidence:
    return Evidence(**{"attempt": "001-000", "lead_s": 90.0, "job": RUNNING, **known})


SILENT_END = attempt(host="gl001")
ROWS: list[tuple[str, dict[str, Any]]] = [
    # each outcome by its strongest sign
    ("cancelled", {"cancelled": CANCELLED}),
    ("cancelled", {"account": Account(state="CANCELLED by 1000")}),
    ("cancelled", {"job": replace(RUNNING, state="CANCELLED")}),
    ("cancelled", {"job": COMPLETING, "record": stopped("SIGTERM")}),
    ("cancelled", {"job": COMPLETING, "log": job_line()}),
    ("walltime", {"record": stopped("SIGUSR2", after_min=59)}),
    ("walltime", {"record": stopped("SIGUSR1", after_min=58)}),
    ("walltime", {"record": stopped("TIME", after_min=59)}),
    ("walltime", {"job": replace(COMPLETING, reason="TimeLimit")}),
    ("walltime", {"job": replace(RUNNING, state="TIMEOUT")}),
    ("walltime", {"account": Account(state="TIMEOUT")}),
    ("walltime", {"job": None, "log": job_line("TIME LIMIT")}),
    ("preempted", {"job": replace(RUNNING, is_preempted=True), "record": stopped("SIGTERM")}),
    ("preempted", {"record": stopped("SIGUSR2", after_min=10)}),
    ("preempted", {"account": Account(state="PREEMPTED")}),
    ("preempted", {"job": None, "log": job_line("PREEMPTION")}),
    ("preempted", {"job": replace(RUNNING, restarts=1), "record": stopped("SIGTERM")}),
    ("preempted", {"job": replace(RUNNING, restarts=1), "log": job_line("JOB REQUEUE")}),
    ("preempted", {"job": replace(RUNNING, restarts=1), "account": Account(state="REQUEUED")}),
    ("preempted", {"job": replace(RUNNING, restarts=1), "is_inside": True}),
    ("node_failure", {"job": replace(RUNNING, state="NODE_FAIL")}),
    ("node_failure", {"account": Account(state="NODE_FAIL")}),
    ("node_failure", {"log": job_line("NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS")}),
    ("node_failure", {"away": ("gl002",)}),
    ("node_failure", {"job": replace(RUNNING, restarts=1), "record": SILENT_END}),
    ("host_oom", {"account": Account(state="FAILED", steps={"0": ("OUT_OF_MEMORY", "0:125")})}),
    ("host_oom", {"log": STEP_OOM}),
    ("host_oom", {"log": "srun: error: gl001: task 0: Out Of Memory"}),
    ("host_oom", {"oom_kills": 1}),
    ("host_oom", {"beats": {0: beat(0), 1: beat(1, oom_kills=2)}}),
    ("host_oom", {"record": failed("host_oom", "MemoryError: ")}),
    ("gpu_oom", {"record": failed("gpu_oom", "OutOfMemoryError: CUDA")}),
    ("disk_full", {"record": failed("disk_full", "OSError: No space left on device")}),
    ("task_error", {"record": failed("task_error")}),
    ("crash", {"log": KILLED, "record": SILENT_END}),
    ("crash", {"record": failed("crash", "RuntimeError: Connection closed by peer")}),
    ("crash", {"record": SILENT_END}),
    (
        "hang",
        {"alarm": Alarm(rank=0, time="", outcome="hang", error="no step", text="", missing=[])},
    ),
    # a call held the interpreter: only a timer could end the rank
    ("hang", {"fused": (1,), "record": SILENT_END, "log": KILLED}),
    ("rendezvous", {"record": failed("rendezvous")}),
    ("launch_failure", {}),
    ("launch_failure", {"log": "srun: error: Unable to create step for job 5: Invalid"}),
    ("launch_failure", {"log": "srun: error: gl001: task 0: Exited with exit code 1"}),
    # precedence: cancelled > walltime or preemption > memory > earliest rank > exception
    ("cancelled", {"cancelled": CANCELLED, "record": stopped("SIGUSR2", after_min=59)}),
    ("cancelled", {"cancelled": CANCELLED, "log": STEP_OOM, "record": failed("task_error")}),
    ("cancelled", {"account": Account(state="CANCELLED by 0"), "log": job_line("TIME LIMIT")}),
    ("walltime", {"record": failed("task_error", after_min=59, stop_signal="SIGUSR2")}),
    ("walltime", {"record": stopped("SIGUSR2", after_min=59), "log": STEP_OOM}),
    ("walltime", {"job": replace(COMPLETING, reason="TimeLimit"), "log": KILLED}),
    (
        "preempted",
        {"job": replace(RUNNING, is_preempted=True), "record": stopped("SIGUSR2", after_min=59)},
    ),
    ("preempted", {"job": replace(RUNNING, is_preempted=True), "record": failed("crash")}),
    ("host_oom", {"log": STEP_OOM, "record": failed("task_error", "RuntimeError: worker died")}),
    ("host_oom", {"log": f"{KILLED}\n{STEP_OOM}", "record": failed("crash")}),
    ("gpu_oom", {"record": failed("crash"), "others": {2: failed("gpu_oom", after_min=11)}}),
    (
        "disk_full",
        {
            "record": failed("task_error", after_min=11),
            "others": {2: failed("disk_full", after_min=10)},
        },
    ),
    ("task_error", {"record": failed("task_error", stop_signal="SIGTERM"), "log": KILLED}),
    ("task_error", {"job": replace(RUNNING, restarts=1), "record": failed("task_error")}),
    # a rank of a requeued life that failed only when it was asked to stop
    (
        "preempted",
        {
            "job": replace(RUNNING, restarts=1),
            "record": failed("task_error", "E: worker killed", stop_signal="SIGTERM"),
        },
    ),
    (
        "task_error",
        {
            "job": replace(RUNNING, restarts=1),
            "record": stopped("SIGTERM"),
            "others": {1: failed("task_error")},
        },
    ),
    ("node_failure", {"job": replace(RUNNING, restarts=1), "is_inside": True, "away": ("gl002",)}),
    # SIGTERM alone decides nothing
    ("crash", {"record": stopped("SIGTERM")}),
    ("crash", {"record": stopped("SIGTERM"), "log": KILLED}),
    ("crash", {"job": None, "record": stopped("SIGTERM")}),
    # a rank that ends a step is no scancel of the job
    ("crash", {"record": SILENT_END, "log": TERMINATED.format("STEP", "")}),
    # what a task prints is not what SLURM says
    ("crash", {"record": SILENT_END, "log": f"epoch 1: {STEP_OOM}\n* {job_line('TIME LIMIT')}"}),
    # who started the ranks saw their ends
    ("walltime", {"job": None, "record": SILENT_END, "seen": {"walltime": ["controller: over"]}}),
    ("host_oom", {"job": None, "record": SILENT_END, "seen": {"host_oom": ["controller: x"]}}),
    ("crash", {"job": None, "record": SILENT_END, "seen": {"crash": ["controller: x"]}}),
    ("launch_failure", {"job": None, "seen": {"launch_failure": ["controller: x"]}}),
]


@pytest.mark.parametrize(("outcome", "known"), ROWS)
def test_the_strongest_evidence_names_the_outcome(outcome: str, known: dict[str, Any]) -> None:
    found = classify(evidence(**known))
    assert found.outcome == outcome
    assert found.evidence
    assert all(sentence.strip() for sentence in found.evidence)


def test_each_source_of_a_preemption_may_be_missing_as_long_as_one_is_there() -> None:
    sources: dict[str, Any] = {
        "job": replace(RUNNING, is_preempted=True),
        "account": Account(state="PREEMPTED"),
        "log": job_line("PREEMPTION"),
    }
    for name in sources:
        left = {key: value for key, value in sources.items() if key != name}
        found = classify(evidence(**{"job": None, **left, "record": stopped("SIGTERM")}))
        assert found.outcome == "preempted", name
        alone = {"job": None, name: sources[name], "record": stopped("SIGTERM")}
        assert classify(evidence(**alone)).outcome == "preempted", name
    none = classify(evidence(job=None, record=stopped("SIGTERM")))
    assert (none.outcome, none.is_known) == ("crash", False)


def test_what_cannot_be_told_is_said_to_be_unknown() -> None:
    found = classify(evidence(job=None, record=SILENT_END, silent=["sacct did not answer"]))
    assert found.outcome == "crash"
    assert not found.is_known
    assert found.evidence == (
        "it left without a word; why is unknown",
        "sacct did not answer",
    )


def test_the_first_rank_that_a_signal_ended_is_named_with_its_node() -> None:
    log = (
        "srun: error: gl001: tasks 0-1: Exited with exit code 75\n"
        "srun: error: gl002: task 2: Terminated\n"
        "srun: error: gl002: task 3: Segmentation fault (core dumped)"
    )
    found = classify(evidence(record=failed("crash", "RuntimeError: peer"), log=log))
    assert found.suspects == ("gl002",)
    assert "Segmentation fault" in found.evidence[0]
    assert any("RuntimeError: peer" in sentence for sentence in found.evidence)


def test_a_failure_besides_what_decides_is_still_told() -> None:
    known = failed("disk_full", "OSError: full", after_min=59, stop_signal="SIGUSR2")
    found = classify(evidence(record=known))
    assert found.outcome == "walltime"
    assert "rank 0 on gl001 then failed: OSError: full" in found.evidence


def test_a_task_that_its_own_watch_ended_did_not_stop_as_it_was_asked() -> None:
    late = record(59.5, stop_signal="SIGUSR2", error="the task did not stop within 60 s")
    found = classify(evidence(record=late))
    assert found.outcome == "walltime"
    assert "rank 0 on gl001 then failed: the task did not stop within 60 s" in found.evidence
    assert not evidence(record=late).has_stopped_as_asked
    assert evidence(record=stopped("SIGUSR2")).has_stopped_as_asked


def test_the_last_sign_of_life_stands_in_for_the_end_of_a_rank_that_was_killed() -> None:
    last = datetime.fromtimestamp(BEGAN_S + 59 * 60, UTC).isoformat()
    beats = {0: beat(0, signal="SIGUSR2", time=last)}
    assert classify(evidence(record=SILENT_END, beats=beats)).outcome == "walltime"
    early = {0: beat(0, signal="SIGUSR2", time=datetime.fromtimestamp(BEGAN_S, UTC).isoformat())}
    assert classify(evidence(record=SILENT_END, beats=early)).outcome == "preempted"


def test_ranks_that_never_joined_are_suspected_with_their_nodes() -> None:
    alarm = Alarm(
        rank=0,
        time="",
        outcome="rendezvous",
        error="ranks 2, 3 on gl002 did not join",
        text="",
        missing=["rank 2 on gl002", "rank 3 on gl002"],
    )
    found = classify(evidence(alarm=alarm, beats={0: beat(0), 1: beat(1)}, world_size=4))
    assert found.suspects == ("gl002",)
    assert found.evidence[0] == "watch of rank 0: ranks 2, 3 on gl002 did not join"
    assert "no sign of life ever came from ranks 2, 3" in found.evidence


def test_of_a_later_life_only_the_restart_says_something_of_this_one() -> None:
    later = replace(RUNNING, restarts=1, state="COMPLETING", reason="TimeLimit", is_preempted=True)
    found = classify(evidence(job=later, record=stopped("SIGTERM")))
    assert found.outcome == "preempted"
    assert "Restarts=1" in found.evidence[0]
    assert classify(evidence(attempt="001-001", job=later)).outcome == "walltime"


def test_a_run_is_completed_unless_another_rank_failed() -> None:
    done = record(outcome="completed")
    assert evidence(record=done).is_completed
    of_two = record(outcome="completed", world_size=2)
    assert not evidence(record=of_two).is_completed  # rank 1 was cut off without a word
    assert evidence(record=of_two, others={1: failed("completed")}).is_completed
    assert not evidence(record=of_two, others={1: failed(None)}).is_completed
    other = evidence(record=done, others={1: failed("task_error")})
    assert not other.is_completed
    assert classify(other).outcome == "task_error"
