"""`launch doctor`: each outcome is explained in words, with what to do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import pytest

from launcher.doctor import HAPPENED, diagnose
from launcher.records import Adjustments, AttemptRecord, Outcome, VerdictRecord
from launcher.states import RunStatus


def life(attempt: str, **fields: Any) -> AttemptRecord:
    return AttemptRecord(
        attempt=attempt,
        key="k",
        job_id="7",
        host="gl001",
        pid=1,
        world_size=1,
        started="2026-11-20T10:00:00+00:00",
        **fields,
    )


def verdict(attempt: str, outcome: str = "walltime", **fields: Any) -> VerdictRecord:
    known: dict[str, Any] = {"evidence": ["scontrol: Reason=TimeLimit"], "action": "requeue"}
    return VerdictRecord(
        attempt=attempt,
        key="k",
        job_id="7",
        time="2026-11-20T11:00:00+00:00",
        by="guard",
        outcome=outcome,  # type: ignore[arg-type]
        **{**known, **fields},
    )


def run(state: Any, reason: str = "") -> RunStatus:
    return RunStatus(key="k", name="n", state=state, reason=reason)


@pytest.mark.parametrize("outcome", get_args(Outcome))
def test_each_outcome_has_words_and_advice(outcome: str) -> None:
    record = life("001-000", ended="2026-11-20T11:00:00+00:00")
    found = diagnose(run("failed"), [record], [verdict("001-000", outcome, action="stop")])
    assert found.lives[0].happened == HAPPENED[outcome]  # type: ignore[index]
    assert found.lives[0].known_by == ["scontrol: Reason=TimeLimit"]
    assert found.lives[0].todo


def test_a_run_that_went_on_needs_nothing() -> None:
    lives = [life("001-000", ended="2026-11-20T11:00:00+00:00"), life("001-001", resumed_step=40)]
    found = diagnose(run("running"), lives, [verdict("001-000", saved_step=40)])
    assert found.lives[0].title.endswith("60 min from step 0")
    assert found.lives[0].done == ["Step 40 is saved.", "The same job was queued again."]
    assert found.lives[0].todo == ""
    assert found.lives[1].title.endswith("from step 40")
    assert found.lives[1].todo == "Nothing."


def test_what_was_changed_is_named() -> None:
    changed = Adjustments(config={"data.num_workers": 2}, mem_gb=96, exclude=["gl003"])
    said = verdict("001-000", "host_oom", action="requeue_changed", adjustments=changed)
    done = diagnose(run("pending"), [], [said]).lives[0].done
    assert "The next life has data.num_workers=2." in done
    assert "The next life has 96 GB of memory per node." in done
    assert "The next life has no gl003." in done


def test_ctrl_c_is_no_cancelling() -> None:
    record = life("001-000", ended="2026-11-20T11:00:00+00:00")
    said = [verdict("001-000", "cancelled", action="stop")]
    status = replace(run("cancelled"), is_lost=True)
    (interrupted,) = diagnose(status, [record], said).lives
    assert "was interrupted (ctrl-C)" in interrupted.happened
    assert "The same command goes on" in interrupted.todo
    (cancelled,) = diagnose(run("cancelled"), [record], said).lives
    assert cancelled.happened == HAPPENED["cancelled"]
    assert "launch retry" in cancelled.todo


def test_an_action_that_failed_is_said_with_its_cure() -> None:
    said = verdict("001-000", failure="slurmctld did not answer")
    finding = diagnose(run("failed"), [], [said]).lives[0]
    assert "slurmctld did not answer" in " ".join(finding.done)
    assert "launch resume" in finding.todo


def test_a_life_that_nobody_concluded_is_said_to_be_unknown() -> None:
    finding = diagnose(run("failed"), [life("001-000")], []).lives[0]
    assert "without a word" in finding.happened
    assert "launch resume" in finding.todo
