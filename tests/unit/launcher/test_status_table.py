"""The table of `launch status`: how long runs took, and what terminals of several widths show."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from launcher import files, ui
from launcher.states import RunStatus

START = datetime(2026, 1, 1, tzinfo=UTC)


def ran(seconds: float) -> RunStatus:
    started, ended = START.isoformat(), (START + timedelta(seconds=seconds)).isoformat()
    return RunStatus(key="k", name="x=1", state="completed", started=started, ended=ended)


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0:00"), (18, "0:18"), (59.6, "1:00"), (3600, "1:00:00")]
)
def test_a_run_that_has_ended_took_the_time_from_its_start_to_its_end(
    seconds: float, shown: str
) -> None:
    assert {ui.elapsed(ran(seconds)) for _ in range(20)} == {shown}


def test_a_run_that_has_not_ended_is_timed_until_now() -> None:
    running = RunStatus(key="k", name="x=1", state="running", started=files.now())
    assert ui.elapsed(running) in ("0:00", "0:01", "0:02")


NAME = "backbone=transfuser fraction=0.5"
REASON = "the task raised ValueError: " + "x" * 80
FAILED = RunStatus(
    key="k", name=NAME, state="failed", reason=REASON, job_id="4711", node="gl001", attempts=3,
    mem_gb=2.0, mem_peak_gb=1.5, progress={"step": 20, "total_steps": 400},
)  # fmt: skip


def printed(width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(ui.status_table([(0, FAILED)], console))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 100, 120, 240])
def test_runs_and_states_are_whole_and_no_reason_is_lost(width: int) -> None:
    lines = printed(width)
    assert max(map(len, lines)) <= width
    assert f"{NAME}  ✗ failed" in lines[1]
    told = "".join(line[lines[0].index("reason") :].strip() for line in lines[1:])
    assert told.replace(" ", "") == REASON.replace(" ", "")
    assert len(lines) <= 10


def test_a_narrow_terminal_leaves_out_what_is_needed_least() -> None:
    assert printed(240)[0].split() == [
        *("#", "run", "state", "tries", "step", "node", "memory", "job", "reason")
    ]
    assert printed(110)[0].split() == ["#", "run", "state", "tries", "step", "reason"]
    assert printed(60)[0].split() == ["#", "run", "state", "reason"]
