"""What SLURM's commands print, read: the queue, and why sbatch refused. Arrays are formed."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher.errors import SubmissionError
from launcher.scheduler import client
from launcher.scheduler.base import Job, JobStatus
from launcher.scheduler.client import (
    Answer,
    FullError,
    SlurmClient,
    SubmitLimitError,
    UnsureError,
    _queued,
    is_submit_limit,
)
from launcher.scheduler.slurm import SlurmScheduler, group_by_shape
from tests.unit.launcher.samples import SHAPE

OURS = "launcher:abcdef012345"


class ScriptedClient(SlurmClient):
    """Its commands answer what a test says; the last answer is repeated."""

    def __init__(self, *answers: Answer) -> None:
        super().__init__()
        self.answers = list(answers)
        self.commands: list[list[str]] = []

    def run(self, command: list[str], text: str | None = None, *, submits: bool = False) -> Answer:
        self.commands.append(command)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class Scripted(SlurmScheduler):
    """Needs no srun to write its scripts."""

    def script(self, job: Job, token: str, indexes: tuple[int, int] | None) -> str:
        return "#!/bin/bash\n"


def scripted(folder: Path, *answers: Answer) -> Scripted:
    return Scripted(folder=folder, client=ScriptedClient(*answers))


def commands(scheduler: SlurmScheduler) -> list[list[str]]:
    assert isinstance(scheduler.client, ScriptedClient)
    return scheduler.client.commands


@pytest.mark.parametrize(
    ("line", "job_id", "status"),
    [
        ("17|PENDING|Priority||x", "17", JobStatus(state="pending", reason="Priority")),
        ("17_3|PENDING|None||x", "17_3", JobStatus(state="pending")),
        ("17_3|RUNNING|None|node1|x", "17_3", JobStatus(state="running", node="node1")),
        (
            "17|RUNNING|None|gpu[01-03,7]|x",
            "17",
            JobStatus(state="running", node="gpu[01-03,7]"),
        ),
        ("17|PENDING|Dependency||x", "17", JobStatus(state="waiting", reason="Dependency")),
        (
            "17|PENDING|DependencyNeverSatisfied||x",
            "17",
            JobStatus(state="waiting", reason="DependencyNeverSatisfied"),
        ),
        ("17|PENDING|JobHeldUser||x", "17", JobStatus(state="pending", reason="JobHeldUser")),
        (
            "17|REQUEUE_HOLD|launch failed requeued held||x",
            "17",
            JobStatus(state="pending", reason="launch failed requeued held"),
        ),
        ("17|REQUEUED|BeginTime||x", "17", JobStatus(state="pending", reason="BeginTime")),
        (
            "17|PENDING|ReqNodeNotAvail, UnavailableNodes:node[1-3]||x",
            "17",
            JobStatus(state="pending", reason="ReqNodeNotAvail, UnavailableNodes:node[1-3]"),
        ),
        ("17|COMPLETING|None|node1|x", "17", JobStatus(state="running", node="node1")),
        ("17|SUSPENDED|None|node1|x", "17", JobStatus(state="pending")),
        ("17|OUT_OF_MEMORY|None|node1|x", "17", JobStatus(state="ended", reason="OUT_OF_MEMORY")),
        ("17|NODE_FAIL|NodeDown||x", "17", JobStatus(state="ended", reason="NODE_FAIL")),
    ],
)
def test_a_line_of_squeue_says_how_a_job_is(line: str, job_id: str, status: JobStatus) -> None:
    read = _queued(line)
    assert (read.job_id, read.status) == (job_id, status)


@pytest.mark.parametrize(
    ("comment", "token"),
    [
        (OURS, "abcdef012345"),
        (f"my note {OURS}", "abcdef012345"),
        (f"a|b;c=d,'e\" ä {OURS}", "abcdef012345"),
        (f"|||{OURS}|", "abcdef012345"),
        ("(null)", ""),
        ("", ""),
        ("somebody's launcher: no token", ""),
    ],
)
def test_the_token_is_found_whatever_else_the_comment_says(comment: str, token: str) -> None:
    read = _queued(f"17_0|RUNNING|None|node1|{comment}")
    assert (read.token, read.status.node) == (token, "node1")


def test_lines_that_are_no_jobs_are_passed_over(tmp_path: Path) -> None:
    printed = f"a banner of the site\n17_0|PENDING|None||{OURS}\n\n17_1|RUNNING|None|n1|{OURS}\n"
    scheduler = scripted(tmp_path, Answer(0, printed))
    assert [job.job_id for job in scheduler.queue()] == ["17_0", "17_1"]
    assert "--array" in commands(scheduler)[0]


def test_a_job_that_has_left_the_queue_has_ended_and_the_others_are_told_apart(
    tmp_path: Path,
) -> None:
    printed = f"17_0|PENDING|Priority||{OURS}\n17_1|RUNNING|None|n1|{OURS}\n"
    scheduler = scripted(tmp_path, Answer(0, printed))
    for key, job_id in {"a": "17_0", "b": "17_1", "c": "17_2", "d": "1"}.items():
        scheduler.watch(key, job_id)
    scheduler.forget("d")
    assert {key: status.state for key, status in scheduler.poll().items()} == {
        "a": "pending",
        "b": "running",
        "c": "ended",
    }


def test_a_squeue_that_fails_is_asked_again_before_all_jobs_are_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "RETRY_AFTER_S", (0.0, 0.0))
    late, answer = Answer(1, "", "Unable to contact slurm controller"), Answer(0, "")
    scheduler = scripted(tmp_path, late, late, answer)
    scheduler.watch("a", "17")
    assert scheduler.poll()["a"].state == "ended"
    silent = scripted(tmp_path, late)
    silent.watch("a", "17")
    status = silent.poll()["a"]
    assert status.state == "unknown"
    assert "Unable to contact slurm controller" in status.reason


GENERIC = (
    "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy "
    "(job submit limit, user's size and/or time limits)"
)


@pytest.mark.parametrize(
    ("words", "is_limit"),
    [
        (f"sbatch: error: QOSMaxSubmitJobPerUserLimit\n{GENERIC}", True),
        (f"sbatch: error: AssocMaxSubmitJobLimit\n{GENERIC}", True),
        (f"sbatch: error: AssocGrpSubmitJobsLimit\n{GENERIC}", True),
        (GENERIC, True),
        ("sbatch: Slurm temporarily unable to accept job, sleeping and retrying", True),
        (f"sbatch: error: AssocMaxWallDurationPerJobLimit\n{GENERIC}", False),
        (f"sbatch: error: QOSMaxCpuPerJobLimit\n{GENERIC}", False),
        (f"sbatch: error: QOSMaxNodePerJobLimit\n{GENERIC}", False),
        ("sbatch: error: invalid partition specified: nowhere", False),
        ("sbatch: error: Batch job submission failed: Invalid job array specification", False),
        ("sbatch: error: Batch job submission failed: Socket timed out on send/recv", False),
        ("", False),
    ],
)
def test_a_limit_on_the_number_of_jobs_is_told_from_one_on_their_size(
    words: str, is_limit: bool
) -> None:
    assert is_submit_limit(words) is is_limit


TEMPORARILY = "sbatch: Slurm temporarily unable to accept job, sleeping and retrying\n"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (
            Answer(1, "", f"sbatch: error: QOSMaxSubmitJobPerUserLimit\n{GENERIC}"),
            SubmitLimitError,
        ),
        (Answer(None, "", TEMPORARILY), FullError),
        (Answer(None), UnsureError),
        (Answer(1, "", "sbatch: error: Socket timed out on send/recv operation"), UnsureError),
        (Answer(1, "", "sbatch: error: Unable to contact slurm controller"), UnsureError),
        (Answer(1, "", "sbatch: error: Zero Bytes were transmitted or received"), UnsureError),
        (Answer(1, "", "sbatch: error: Connection refused"), UnsureError),
        (Answer(1, "", "sbatch: error: invalid account"), SubmissionError),
        (
            Answer(1, "", f"sbatch: error: AssocMaxWallDurationPerJobLimit\n{GENERIC}"),
            SubmissionError,
        ),
        (Answer(1), SubmissionError),
    ],
)
def test_what_sbatch_says_decides_whether_the_job_may_have_been_taken(
    answer: Answer, error: type[SubmissionError], tmp_path: Path
) -> None:
    with pytest.raises(SubmissionError) as raised:
        scripted(tmp_path, answer).sbatch(job("a"), "abcdef012345", None)
    assert type(raised.value) is error


@pytest.mark.parametrize("printed", ["123\n", "123;cluster\n"])
def test_the_job_id_is_what_parsable_sbatch_prints_first(printed: str, tmp_path: Path) -> None:
    assert scripted(tmp_path, Answer(0, printed)).sbatch(job("a"), "abc", (0, 1)) == "123"


def job(key: str, **changes: Any) -> Job:
    return Job(**{"key": key, "name": key, "shape": SHAPE, **changes})


def keys(groups: list[list[Job]]) -> list[list[str]]:
    return [[job.key for job in group] for group in groups]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(1, "", "first\nlast\n"), "last"),
        (Answer(None, "", "still trying"), "still trying"),
        (Answer(None), "no answer in time"),
        (Answer(1), ""),
    ],
)
def test_the_reason_is_the_last_that_a_command_said(answer: Answer, reason: str) -> None:
    assert answer.reason == reason


@pytest.mark.parametrize("said", [b"still trying", "still trying", b"", None])
def test_a_command_that_is_too_late_is_quoted_in_bytes_or_text(
    said: bytes | str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_late(*arguments: Any, **options: Any) -> None:
        raise subprocess.TimeoutExpired("squeue", 60, stderr=said)

    monkeypatch.setattr(subprocess, "run", too_late)
    assert SlurmClient().run(["squeue"]) == Answer(None, stderr="still trying" if said else "")


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": replace(SHAPE, timeout_min=61)},
        {"shape": replace(SHAPE, nodes=2)},
        {"parameters": {"partition": "other"}},
        {"after": ("encoder",)},
        {"is_required": True},
        {"python_path": ("elsewhere",)},
    ],
)
def test_only_jobs_that_sbatch_is_told_the_same_of_are_one_array(changes: dict[str, Any]) -> None:
    jobs = [job("a"), job("b", **changes), job("c"), job("d", **changes)]
    assert keys(group_by_shape(jobs)) == [["a", "c"], ["b", "d"]]


def test_what_others_wait_for_stays_in_front() -> None:
    encoder, train = job("encoder", is_required=True), job("train", after=("encoder",))
    assert keys(group_by_shape([encoder, train, job("other")]))[0] == ["encoder"]


def test_arrays_are_split_below_the_largest_index_of_the_site(tmp_path: Path) -> None:
    jobs = [job(str(i)) for i in range(7)]
    scheduler = SlurmScheduler(folder=tmp_path, max_array_size=4)
    assert keys(scheduler.groups(jobs)) == [["0", "1", "2"], ["3", "4", "5"], ["6"]]
    assert scheduler.groups([]) == []


@pytest.mark.parametrize(
    ("printed", "size"),
    [("MaxArraySize            = 3\n", 2), ("MaxArraySize=1\n", 1), ("nothing\n", 1000)],
)
def test_slurm_is_asked_for_that_index_where_the_site_does_not_say(
    printed: str, size: int, tmp_path: Path
) -> None:
    scheduler = scripted(tmp_path, Answer(0, printed))
    assert len(scheduler.groups([job(str(i)) for i in range(1001)])[0]) == size
    scheduler.groups([job("a")])
    assert len(commands(scheduler)) == 1
