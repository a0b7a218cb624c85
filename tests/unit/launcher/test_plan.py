"""What a command does with a run, from how it stands, what changed since, and the rules."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from launcher.errors import ConfigError
from launcher.plan import Plan, Rules, make_plan
from launcher.records import RunState
from launcher.states import RunStatus
from tests.unit.launcher.samples import SHAPE

NOW, BEFORE = "code-now", "code-before"
SAME, OTHER = "config-now", "config-before"


def wanted(key: str = "k", **changes: Any) -> Any:
    fields = {
        "key": key,
        "name": f"run {key}",
        "shape": SHAPE,
        "requires": {},
        "is_followed": False,
        **changes,
    }
    return SimpleNamespace(**fields)


def known(state: RunState, key: str = "k", **changes: Any) -> RunStatus:
    sent = {} if state == "new" else {"code": NOW, "config_sha": SAME}
    return RunStatus(key=key, name=f"run {key}", state=state, **{**sent, **changes})


def plan_of(runs: list[Any], statuses: list[RunStatus], rules: Rules | None = None) -> Plan:
    return make_plan(
        runs,
        {status.key: status for status in statuses},
        {run.key: SAME for run in runs},
        NOW,
        rules or Rules(),
    )


RAISED = {"outcome": "task_error", "reason": "ValueError: x"}
DIED = {"outcome": None, "reason": "OUT_OF_MEMORY"}
RETRY, KEEP, FORCE = Rules(failed="retry"), Rules(failed="keep"), Rules(force=True)


@pytest.mark.parametrize(
    ("state", "facts", "rules", "expected"),
    [
        ("new", {}, Rules(), ("new", "submit", "")),
        ("new", {}, KEEP, ("new", "submit", "")),
        ("held", {}, Rules(), ("new", "submit", "was not sent before")),
        ("held", {"code": BEFORE}, Rules(), ("new", "submit", "was not sent before")),
        ("waiting", {"reason": "Dependency"}, Rules(), ("pending", "keep", "Dependency")),
        ("pending", {"reason": "Priority"}, Rules(), ("pending", "keep", "Priority")),
        ("pending", {"reason": "Priority"}, FORCE, ("pending", "keep", "Priority")),
        ("running", {}, RETRY, ("running", "keep", "")),
        ("running", {}, FORCE, ("running", "keep", "")),
        ("running", {"code": BEFORE}, Rules(), ("running", "keep", "code changed since")),
        (
            "pending",
            {"code": BEFORE, "config_sha": OTHER},
            Rules(),
            ("pending", "keep", "code and config changed since"),
        ),
        ("completed", {}, Rules(), ("done", "keep", "")),
        ("completed", {"code": BEFORE, "config_sha": OTHER}, Rules(), ("done", "keep", "")),
        ("completed", {}, RETRY, ("done", "keep", "")),
        ("completed", {}, FORCE, ("done", "submit", "forced")),
        ("cancelled", {}, Rules(), ("cancelled", "keep", "failed=retry")),
        ("cancelled", {"code": BEFORE}, Rules(), ("cancelled", "keep", "failed=retry")),
        ("cancelled", {}, KEEP, ("cancelled", "keep", "failed=retry")),
        ("cancelled", {}, RETRY, ("cancelled", "submit", "again")),
        ("cancelled", {}, FORCE, ("cancelled", "submit", "forced")),
        ("unknown", {"reason": "no answer"}, Rules(), ("unknown", "keep", "no answer")),
        ("unknown", {"reason": "no answer"}, RETRY, ("unknown", "keep", "no answer")),
        ("failed", DIED, Rules(), ("failed", "submit", "again after: OUT_OF_MEMORY")),
        ("failed", DIED, KEEP, ("failed", "keep", "OUT_OF_MEMORY")),
        ("failed", DIED, RETRY, ("failed", "submit", "OUT_OF_MEMORY")),
        ("failed", {"outcome": "cancelled"}, Rules(), ("failed", "submit", "again after")),
        ("failed", RAISED, Rules(), ("failed", "keep", "after a change, or with failed=retry")),
        ("failed", RAISED, RETRY, ("failed", "submit", "again after: ValueError: x")),
        ("failed", RAISED, KEEP, ("failed", "keep", "ValueError: x")),
        ("failed", RAISED, FORCE, ("failed", "submit", "forced")),
        ("failed", RAISED | {"code": BEFORE}, Rules(), ("changed", "submit", "code changed after")),
        (
            "failed",
            RAISED | {"config_sha": OTHER},
            Rules(),
            ("changed", "submit", "config changed after"),
        ),
        ("failed", RAISED | {"code": BEFORE}, KEEP, ("failed", "keep", "ValueError: x")),
    ],
)
def test_the_action_follows_from_state_changes_and_rules(
    state: RunState, facts: dict[str, Any], rules: Rules, expected: tuple[str, str, str]
) -> None:
    (row,) = plan_of([wanted()], [known(state, **facts)], rules).rows
    assert (row.state, row.action) == expected[:2]
    assert expected[2] in row.note if expected[2] else row.note == ""


def test_only_the_first_line_of_a_failure_is_shown() -> None:
    (row,) = plan_of([wanted()], [known("failed", **RAISED | {"reason": "a\nb"})]).rows
    assert "a" in row.note
    assert "\n" not in row.note


def test_a_run_whose_state_is_unknown_is_not_even_forced() -> None:
    """It may be running: two lives of one run in one folder are worse than none."""
    (row,) = plan_of([wanted()], [known("unknown", reason="no answer")], FORCE).rows
    assert row.action == "keep"


@pytest.mark.parametrize("word", ["again", "", "Retry"])
def test_an_unknown_word_for_failed_runs_is_refused(word: str) -> None:
    with pytest.raises(ConfigError, match="legal: retry, keep"):
        Rules(failed=word)


def chain() -> list[Any]:
    encoder = wanted("encoder")
    train = wanted("train", requires={"encoder": encoder})
    return [encoder, train, wanted("evaluate", requires={"train": train}), wanted("other")]


def actions(plan: Plan) -> dict[str, str]:
    return {row.run.key: row.action for row in plan.rows}


@pytest.mark.parametrize(
    ("state", "facts"),
    [("failed", RAISED), ("cancelled", {})],
)
def test_what_depends_on_a_run_that_will_not_complete_is_blocked_all_the_way(
    state: RunState, facts: dict[str, Any]
) -> None:
    runs = chain()
    statuses = [known(state, "encoder", **facts), *(known("new", r.key) for r in runs[1:])]
    plan = plan_of(runs, statuses)
    assert actions(plan) == {
        "encoder": "keep",
        "train": "blocked",
        "evaluate": "blocked",
        "other": "submit",
    }
    assert plan.blocked() == {"train", "evaluate"}
    assert [run.key for run in plan.to_submit()] == ["other"]
    assert f"requires run encoder, which {state}" in plan.rows[1].note


@pytest.mark.parametrize("state", ["completed", "pending", "running", "new", "held", "unknown"])
def test_what_depends_on_a_run_that_may_complete_is_sent(state: RunState) -> None:
    runs = chain()
    plan = plan_of(runs, [known(state, "encoder"), *(known("new", r.key) for r in runs[1:])])
    assert {actions(plan)[key] for key in ("train", "evaluate", "other")} == {"submit"}


def test_a_dependant_that_is_done_is_kept_though_what_it_required_has_failed_since() -> None:
    runs = chain()
    statuses = [known("failed", "encoder", **RAISED), known("completed", "train")]
    plan = plan_of(runs, [*statuses, *(known("new", r.key) for r in runs[2:])])
    assert actions(plan) == {
        "encoder": "keep",
        "train": "keep",
        "evaluate": "submit",
        "other": "submit",
    }


def test_retrying_frees_what_was_blocked() -> None:
    runs = chain()
    statuses = [known("failed", "encoder", **RAISED), *(known("new", r.key) for r in runs[1:])]
    assert plan_of(runs, statuses, RETRY).blocked() == set()


def test_gpu_hours_count_what_will_be_sent_and_nothing_else() -> None:
    large = replace(SHAPE, nodes=2, gpus_per_node=4, ranks_per_node=4, timeout_min=90)
    runs = [wanted("a", shape=large), wanted("b", shape=large), wanted("c")]
    plan = plan_of(runs, [known("new", "a"), known("completed", "b"), known("new", "c")])
    assert [row.gpu_hours for row in plan.rows] == [12.0, 12.0, 0.0]
    assert plan.gpu_hours == 12.0


def test_codes_are_those_of_kept_runs_and_the_one_to_be_sent() -> None:
    runs = [wanted("a"), wanted("b"), wanted("c")]
    statuses = [known("completed", "a", code=BEFORE), known("failed", "b", code="old", **DIED)]
    plan = plan_of(runs, [*statuses, known("new", "c")])
    assert [row.code for row in plan.rows] == [BEFORE, NOW, NOW]
    assert plan.codes() == {BEFORE, NOW}


def test_a_blocked_run_that_was_never_sent_has_no_code() -> None:
    runs = chain()
    statuses = [known("cancelled", "encoder", code=BEFORE)]
    plan = plan_of(runs, [*statuses, *(known("new", r.key) for r in runs[1:])])
    assert [row.code for row in plan.rows] == [BEFORE, "", "", NOW]


def test_runs_stay_in_the_order_in_which_they_were_wanted() -> None:
    runs = chain()
    plan = plan_of(runs, [known("new", run.key) for run in runs])
    assert [row.run.key for row in plan.rows] == ["encoder", "train", "evaluate", "other"]


@pytest.mark.parametrize("state", ["new", "held", "failed", "cancelled"])
@pytest.mark.parametrize("rules", [RETRY, FORCE])
def test_a_run_of_another_study_is_never_sent_and_blocks_who_needs_it(
    state: RunState, rules: Rules
) -> None:
    theirs = wanted("theirs", is_followed=True)
    ours = wanted("ours", requires={"train": theirs})
    plan = plan_of([theirs, ours], [known(state, "theirs"), known("new", "ours")], rules)
    assert [row.action for row in plan.rows] == ["blocked", "blocked"]


@pytest.mark.parametrize("state", ["completed", "running", "pending", "waiting"])
def test_a_run_of_another_study_that_completes_is_followed(state: RunState) -> None:
    theirs = wanted("theirs", is_followed=True)
    ours = wanted("ours", requires={"train": theirs})
    plan = plan_of([theirs, ours], [known(state, "theirs"), known("new", "ours")])
    assert [row.action for row in plan.rows] == ["keep", "submit"]
