"""Rows of a training, as several lives of it log them."""

import json
from pathlib import Path

import pytest

from launcher.tracking import journal
from launcher.tracking.journal import Journal, Row

A, B = "001-000", "001-001"


def test_what_is_logged_at_one_step_is_one_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    writer = Journal(path, A)
    writer.append(4, 10.0, {"loss": 1.0})
    writer.append(4, 11.0, {"val": 2.0, "loss": 1.5})
    writer.append(9, 12.0, {"loss": 0.5})
    assert journal.read(path) == [
        Row(4, 10.0, A, {"loss": 1.5, "val": 2.0}),
        Row(9, 12.0, A, {"loss": 0.5}),
    ]


def test_steps_that_are_done_again_are_logged_once(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    first = Journal(path, A)
    for step in range(6):
        first.append(step, 1.0, {"loss": float(step), "only_then": 1.0})
    second = Journal(path, B)
    assert second.rewind(4) == 2
    second.append(4, 2.0, {"loss": 4.0})
    rows = journal.read(path)
    assert [(row.step, row.attempt) for row in rows] == [*((s, A) for s in range(4)), (4, B)]
    assert rows[-1].values == {"loss": 4.0}


def test_a_row_that_began_before_an_interruption_ends_after_it(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    Journal(path, A).append(9, 1.0, {"loss": 1.0})
    second = Journal(path, B)
    second.rewind(10)  # it was saved before the validation of step 9
    second.append(9, 2.0, {"val": 3.0})
    assert journal.read(path) == [Row(9, 1.0, A, {"loss": 1.0, "val": 3.0})]


def test_half_a_line_of_a_killed_life_harms_no_other(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    Journal(path, A).append(1, 1.0, {"loss": 1.0})
    with open(path, "a") as file:
        file.write('{"step": 2, "time": 1.0, "val')
    Journal(path, B).append(3, 1.0, {"loss": 3.0})
    assert [row.step for row in journal.read(path)] == [1, 3]
    assert len(path.read_text().splitlines()) == 3


def test_a_full_disk_costs_no_row_once_there_is_room(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.symlink_to("/dev/full")
    writer = Journal(path, A)
    refused = writer.append(1, 1.0, {"loss": 1.0})
    assert refused is not None
    assert "space" in str(refused)
    path.unlink()
    assert writer.append(2, 1.0, {"loss": 2.0}) is None
    assert [row.step for row in journal.read(path)] == [1, 2]


@pytest.mark.parametrize(
    ("saved", "is_over", "steps"),
    [(None, False, []), (3, False, [0, 1, 2]), (5, False, [0, 1, 2, 3]), (None, True, range(5))],
    ids=["no checkpoint", "half", "the last may grow", "over"],
)
def test_rows_are_told_when_no_life_can_log_them_again(
    tmp_path: Path, saved: int | None, is_over: bool, steps: list[int]
) -> None:
    rows = [Row(step, 1.0, A) for step in range(5)]
    assert [r.step for r in journal.covered(rows, saved, is_over=is_over)] == list(steps)


def test_values_are_kept_to_the_bit(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    value = 0.1 + 0.2
    Journal(path, A).append(0, 1.0, {"loss": value, "nan": float("nan")})
    assert journal.read(path)[0].values["loss"] == value
    assert json.loads(path.read_text())["attempt"] == A
