"""What the page of a study says of its runs besides their scores."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.reporting.facts import facts_of
from launcher import files, store
from launcher.records import RunEntry, StudyRecord
from launcher.studies import Study
from tests.unit.launcher.samples import attempt, submission

BEGUN = "2026-01-01T00:00:00+00:00"
LIVES = {"001-000": 60, "001-001": 90, "002-000": 120}
"""Two of the first sending, one of the second [s]."""


def study(folder: Path, *, killed: str | None = None) -> Study:
    """A run that was sent twice; one of its lives may have left no end."""
    for number in (1, 2):
        store.write_submission(folder / "k", submission(number=number, job_id="1"))
    for name, seconds in LIVES.items():
        ended = None if name == killed else f"2026-01-01T00:{seconds // 60:02d}:{seconds % 60:02d}"
        life = attempt(
            attempt=name,
            started=BEGUN,
            ended=ended and f"{ended}+00:00",
            outcome=None if name == killed else "completed",
        )
        store.write_record(store.attempt_path(folder / "k", name), life)
    entry = RunEntry(key="k", name="x=1", overrides=[], run_dir="k")
    record = StudyRecord(
        study_id="s", created=files.now(), command=["train.py"], overrides=[], runs=[entry]
    )
    store.write_record(folder / "study.json", record)
    return Study(folder)


@pytest.mark.parametrize(
    ("killed", "minutes"), [(None, "4.5"), ("001-000", "≥ 3.5"), ("002-000", "")]
)
def test_the_time_of_a_run_is_that_of_all_attempts_that_are_counted(
    tmp_path: Path, killed: str | None, minutes: str
) -> None:
    (row,) = facts_of(study(tmp_path, killed=killed), []).rows
    assert (row.attempts, row.minutes) == (3, minutes)
