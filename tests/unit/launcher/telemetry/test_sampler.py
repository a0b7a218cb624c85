"""The thread that measures a rank: what it leaves, and what it must not disturb."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher import job, measures, store, telemetry
from launcher.context import RunContext
from launcher.records import AttemptRecord, Record
from launcher.telemetry import sampler
from launcher.telemetry.allowance import AT_ONCE_S, SHARE, Allowance


@pytest.fixture
def context(tmp_path: Path) -> RunContext:
    return RunContext(
        run_dir=tmp_path / "run",
        key="abc",
        name="n",
        attempt="001-000",
        profile_dir=tmp_path / "profiles" / "p",
        mem_gb=3.0,
    )


def wait_until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def seen(run: RunContext, phase: str) -> bool:
    """Whether the file of rank 0 tells what its process held in a phase."""
    ranks = measures.of_attempt(run.run_dir, run.attempt)
    return bool(ranks) and any(u.phase == phase and u.rank_gb > 0 for u in ranks[0].phases)


def test_a_rank_that_is_killed_has_told_by_then(context: RunContext) -> None:
    with telemetry.measuring(context):
        telemetry.enter("train")
        # Nothing has ended: this is what a killed rank would leave.
        wait_until(lambda: seen(context, "train"))
        (use,) = measures.of_attempt(context.run_dir, context.attempt)
        assert (use.mem_gb, use.outcome) == (3.0, None)
        (measure,) = measures.remembered(context.profile_dir or Path())
        assert measure.run_dir == context.run_dir


def test_a_new_phase_is_written_at_once_and_one_that_comes_again_is_not(
    context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler, "WRITE_EVERY_S", 1e6)
    monkeypatch.setattr(sampler, "GREW", 1e6)
    writes: list[str] = []
    monkeypatch.setattr(measures, "write_use", lambda _, use: writes.append(use.phases[-1].phase))
    with telemetry.measuring(context):
        wait_until(lambda: writes == ["start"])
        telemetry.enter("train")
        wait_until(lambda: writes == ["start", "train"])
        telemetry.enter("start")
        telemetry.enter("train")
        telemetry.enter("validate")
        wait_until(lambda: writes == ["start", "train", "validate"])


def test_a_phase_that_kills_at_once_is_known_by_then(context: RunContext) -> None:
    with telemetry.measuring(context):
        for phase in ("train", "switch"):
            telemetry.enter(phase)
            assert seen(context, phase), "nothing was waited for: this line could be a SIGKILL"


def test_memory_that_grew_is_written_at_once(
    context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler, "WRITE_EVERY_S", 1e6)
    written: list[float] = []
    monkeypatch.setattr(
        measures, "write_use", lambda _, use: written.append(use.phases[-1].rank_gb)
    )
    gc.collect()  # else a collection of what earlier tests left may outweigh the growth
    with telemetry.measuring(context):
        wait_until(lambda: written)
        held = b"x" * (2**30 // 2)
        wait_until(lambda: written[-1] > written[0] + 0.4)
        del held


def test_the_end_is_written_with_all_that_was_noted(context: RunContext) -> None:
    with telemetry.measuring(context):
        telemetry.enter("train")
        telemetry.ask(lambda: {"timed_steps": 7})
        telemetry.ask(None)
        telemetry.note(outcome="completed", total_steps=9)
    (use,) = measures.of_attempt(context.run_dir, context.attempt)
    assert (use.timed_steps, use.total_steps, use.outcome) == (7, 9, "completed")


def test_who_sees_that_a_rank_has_ended_sees_what_it_took(
    context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, write = [], store.write_record

    def watched(path: Path, record: Record, **how: Any) -> None:
        if isinstance(record, AttemptRecord):
            (use,) = measures.of_attempt(context.run_dir, context.attempt)
            told.append((record.outcome, use.outcome, use.step_s))
        write(path, record, **how)

    monkeypatch.setattr(store, "write_record", watched)
    with telemetry.measuring(context):
        telemetry.note(step_s=0.5)
        job._write(context, context.record("1"), outcome="completed")
    assert told == [("completed", "completed", 0.5)]


def test_only_rank_0_points_to_the_run(context: RunContext) -> None:
    with telemetry.measuring(replace(context, rank=1, local_rank=1, ranks_per_node=2)):
        pass
    assert measures.remembered(context.profile_dir or Path()) == []
    assert [use.rank for use in measures.of_attempt(context.run_dir, "001-000")] == [1]


def test_outside_of_an_attempt_nothing_is_measured() -> None:
    telemetry.enter("train")
    telemetry.note(total_steps=1)
    telemetry.ask(dict)


def test_a_disk_that_refuses_is_said_once_and_ends_nothing(
    context: RunContext, caplog: pytest.LogCaptureFixture
) -> None:
    context.run_dir.parent.mkdir(exist_ok=True)
    context.run_dir.write_text("a file where the folder should be")
    (context.run_dir.parent / "profiles").write_text("and another")
    with telemetry.measuring(context):
        for phase in ("train", "validate", "train"):
            telemetry.enter(phase)  # type: ignore[arg-type]
    assert len([r for r in caplog.records if r.name == "launcher.telemetry"]) == 1


def test_a_fault_of_the_measuring_is_said_and_ends_nothing(
    context: RunContext, caplog: pytest.LogCaptureFixture
) -> None:
    def fault() -> dict[str, Any]:
        raise KeyError("fault")

    with telemetry.measuring(context):
        telemetry.ask(fault)
    assert "not measured any more" in caplog.text


def test_a_look_that_is_expensive_comes_seldom() -> None:
    allowance = Allowance(0.0)
    looks = 0
    for tenth in range(10 * 3600):
        if allowance.can(0.5, tenth / 10):
            allowance.spend(0.5)
            looks += 1
    # What is given in an hour, and what may be spent in advance.
    assert allowance.spent_s == pytest.approx(SHARE * 3600 + AT_ONCE_S, rel=0.1)
    assert looks > 15


def test_many_ranks_write_less_often_and_not_in_the_same_moment() -> None:
    assert sampler.write_every_s(1) == 10
    assert sampler.write_every_s(512) == pytest.approx(51.2)
