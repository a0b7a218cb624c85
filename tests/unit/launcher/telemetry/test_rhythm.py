"""When processes are looked at."""

from __future__ import annotations

from launcher.telemetry.rhythm import PAUSES_S, Rhythm


def looked(rhythm: Rhythm, times: int) -> list[float]:
    return [rhythm.looked() for _ in range(times)]


def test_where_nothing_changes_looks_become_seldom() -> None:
    assert looked(Rhythm(0.0), 10) == [*PAUSES_S, PAUSES_S[-1], PAUSES_S[-1]]


def test_a_change_is_looked_at_now_and_soon_again() -> None:
    rhythm = Rhythm(0.0)
    looked(rhythm, 9)
    rhythm.restart(100.0)
    assert rhythm.due_s == 100.0
    assert looked(rhythm, 2) == [0.5, 1.0]


def test_processes_that_grow_are_looked_at_again_soon_and_not_at_each_page() -> None:
    rhythm = Rhythm(0.0)
    rhythm.see(100, 0.0)
    looked(rhythm, 9)
    rhythm.due_s = 500.0
    rhythm.see(104, 10.0)
    assert rhythm.due_s == 500.0
    rhythm.see(106, 20.0)
    assert rhythm.due_s == 22.0
