"""What the table of a study says of a run's time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

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
