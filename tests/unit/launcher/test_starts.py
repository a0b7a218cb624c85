"""When a job would start, in the words of sbatch."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.scheduler import starts
from launcher.scheduler.client import Answer, SlurmClient

NOON_UTC_S = 1_751_371_200.0
"""2025-07-01T12:00:00 in UTC."""


@pytest.fixture
def new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Local time is four hours behind UTC in summer."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    "said",
    [
        "sbatch: Job 3 to start at 2025-07-01T08:00:00 using 1 processors on nodes gl001 in"
        " partition busy",
        "sbatch: Job 4 to start at 2025-07-01T08:00:00 using 32 processors on gl001",
        "sbatch: Account defaulted to lab\n"
        "sbatch: Job 5 to start at 2025-07-01T08:00:00 using 8 processors on nodes gl[001-002] in"
        " partition gpu",
    ],
)
def test_the_start_is_read_in_local_time(new_york: None, said: str) -> None:
    start = starts.read(Answer(0, "", said))
    assert start.at_s == NOON_UTC_S
    assert start.delay_s(NOON_UTC_S - 60) == 60
    assert start.delay_s(NOON_UTC_S + 60) == 0
    assert not start.is_refused


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            "allocation failure: Requested node configuration is not available",
            "Requested node configuration is not available",
        ),
        (
            "sbatch: error: Batch job submission failed: Invalid account or account/partition"
            " combination specified",
            "Batch job submission failed: Invalid account or account/partition combination"
            " specified",
        ),
    ],
)
def test_a_refusal_keeps_its_reason(said: str, reason: str) -> None:
    start = starts.read(Answer(1, "", said))
    assert (start.is_refused, start.reason, start.at_s) == (True, reason, None)


def test_a_full_queue_of_ones_own_is_no_refusal_of_the_place() -> None:
    said = "sbatch: error: QOSMaxSubmitJobPerUserLimit"
    start = starts.read(Answer(1, "", said))
    assert not start.is_refused
    assert start.at_s is None
    assert "QOSMaxSubmitJobPerUserLimit" in start.reason


@pytest.mark.parametrize(
    "answer",
    [
        Answer(None),
        Answer(0, "", "sbatch: Job 7 to start at Unknown using 1 processors on nodes n1"),
        Answer(0, "", ""),
        Answer(1, "", "sbatch: error: Unable to contact slurm controller (connect failure)"),
        Answer(1, "", "sbatch: fatal: Could not establish a configuration source"),
    ],
)
def test_what_slurm_does_not_say_is_unknown_with_a_reason(answer: Answer) -> None:
    start = starts.read(answer)
    assert start.at_s is None
    assert start.reason
    assert not start.is_refused


def test_questions_are_bounded_and_answers_keep_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sbatch = tmp_path / "sbatch"
    # The later questions are answered first.
    sbatch.write_text(
        "#!/bin/bash\nread n\nsleep 0.0$((9 - n % 10))\n"
        'printf "sbatch: Job 1 to start at 2025-07-01T12:%02d:00 on nodes n$n" $n >&2\n'
        f'echo "$SLURM_TIME_FORMAT" >> {tmp_path}/asked\n'
    )
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_TIME_FORMAT", "relative")
    most = starts.MOST_QUESTIONS
    found = starts.ask(SlurmClient(), [f"{n}\n" for n in range(most + 2)])
    assert [start.nodes for start in found[:most]] == [f"n{n}" for n in range(most)]
    assert all(start.at_s is None and start.reason for start in found[most:])
    assert (tmp_path / "asked").read_text().split() == ["standard"] * most
