"""What follows an outcome: policy, budgets, the memory ladder, smaller batches, other nodes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from launcher import recovery
from launcher.errors import ConfigError
from launcher.outcomes import Finding
from launcher.records import Adjustments, VerdictRecord
from launcher.recovery import Situation, check_keys, decide
from launcher.settings import RecoveryConfig

VALUES = {"data.num_workers": 8, "trainer.micro_batch_size": 5, "data.cache": True, "mode": "a"}
FRESH = Situation(lives=1, mem_gb=8.0, node_mem_gb=30.0, value=VALUES.get)


def finding(outcome: str, *suspects: str) -> Finding:
    return Finding(outcome=outcome, evidence=("x",), suspects=suspects)  # type: ignore[arg-type]


def verdict(outcome: str = "crash", **changes: Any) -> VerdictRecord:
    known = {"attempt": "001-000", "key": "k", "job_id": "1", "time": "", "by": "guard"}
    return VerdictRecord(
        **{**known, "outcome": outcome, "evidence": ["x"], "action": "requeue", **changes}
    )


def config(**changes: Any) -> RecoveryConfig:
    return replace(RecoveryConfig(), **changes)


@pytest.mark.parametrize(
    ("outcome", "action"),
    [
        ("walltime", "requeue"),
        ("preempted", "requeue"),
        ("node_failure", "requeue"),
        ("crash", "requeue"),
        ("host_oom", "requeue_changed"),
        ("gpu_oom", "stop"),  # nobody said which key is the micro-batch
        ("rendezvous", "requeue_changed"),
        ("hang", "requeue_changed"),
        ("launch_failure", "requeue_changed"),
        ("disk_full", "stop"),
        ("task_error", "stop"),
        ("cancelled", "stop"),
    ],
)
def test_the_default_policy(outcome: str, action: str) -> None:
    assert decide(finding(outcome, "gl002"), FRESH, config()).action == action


def test_an_outcome_without_a_policy_stops() -> None:
    decision = decide(finding("walltime"), FRESH, config(policy={}))
    assert decision.action == "stop"
    assert "policy.walltime" in decision.note


@pytest.mark.parametrize(
    ("outcome", "situation", "note"),
    [
        ("crash", {"past": [verdict()]}, "1 retry after crash, at most 1"),
        ("walltime", {"lives": 100}, "100 attempts of at most 100"),
        (
            "walltime",
            {
                "lives": 4,
                "progressed": False,
                "past": [verdict("walltime", progressed=p) for p in (True, False, False)],
            },
            "3 attempts in a row without progress",
        ),
    ],
)
def test_a_spent_budget_stops_and_is_said(
    outcome: str, situation: dict[str, Any], note: str
) -> None:
    decision = decide(finding(outcome), replace(FRESH, **situation), config())
    assert (decision.action, decision.note) == ("stop", f"budget spent: {note}")


def test_progress_in_between_and_other_outcomes_do_not_count() -> None:
    past = [verdict("walltime", progressed=p) for p in (False, False, True, False)]
    situation = replace(FRESH, lives=5, progressed=False, past=past)
    assert decide(finding("walltime"), situation, config()).action == "requeue"
    assert decide(finding("crash"), situation, config()).action == "requeue"


def climb(ladder: list[dict[str, Any]], situation: Situation) -> list[tuple[float | None, Any]]:
    """Memory and config of each life until the ladder ends."""
    steps = []
    while True:
        decision = decide(finding("host_oom"), situation, config(memory_ladder=ladder))
        if decision.action == "stop":
            assert "no further rung" in decision.note
            return steps
        now = decision.adjustments
        steps.append((now.mem_gb, now.config))
        situation = replace(situation, adjustments=now, mem_gb=now.mem_gb or situation.mem_gb)


def test_the_ladder_multiplies_what_was_asked_first_and_ends_with_the_node() -> None:
    ladder: list[dict[str, Any]] = [{"mem": 1.5}, {"mem": 2.0}, {"mem": "node"}]
    assert climb(ladder, FRESH) == [(12.0, {}), (16.0, {}), (30.0, {})]


def test_a_rung_never_asks_for_more_than_a_node_has() -> None:
    assert climb([{"mem": 2}, {"mem": 3}], replace(FRESH, node_mem_gb=10.0)) == [(10.0, {})]


def test_rungs_only_lower_numbers_and_skip_what_changes_nothing() -> None:
    ladder = [
        {"data.num_workers": 12},
        {"data.num_workers": 4, "data.cache": False},
        {"data.num_workers": 2},
        {"mode": "a"},
    ]
    assert climb(ladder, FRESH) == [
        (None, {"data.num_workers": 4, "data.cache": False}),
        (None, {"data.num_workers": 2, "data.cache": False}),
    ]


def test_without_knowing_the_memory_a_factor_is_no_rung() -> None:
    unknown = replace(FRESH, mem_gb=None, node_mem_gb=None)
    decision = decide(finding("host_oom"), unknown, config())
    assert decision.action == "stop"
    assert "unknown" in decision.note


def test_the_micro_batch_is_halved_down_to_one() -> None:
    settings = config(micro_batch_key="trainer.micro_batch_size", retries={})
    situation, sizes = FRESH, []
    while True:
        decision = decide(finding("gpu_oom"), situation, settings)
        if decision.action == "stop":
            break
        sizes.append(decision.adjustments.config["trainer.micro_batch_size"])
        situation = replace(situation, adjustments=decision.adjustments)
    assert sizes == [3, 2, 1]
    assert decision.note == "`trainer.micro_batch_size` is 1 already"


@pytest.mark.parametrize(
    ("key", "note"), [(None, "micro_batch_key"), ("no.such.key", "None, which cannot be halved")]
)
def test_a_micro_batch_that_nobody_knows_stops_with_a_hint(key: str | None, note: str) -> None:
    decision = decide(finding("gpu_oom"), FRESH, config(micro_batch_key=key))
    assert decision.action == "stop"
    assert note in decision.note


def test_elsewhere_avoids_the_suspects_and_keeps_what_was_learnt() -> None:
    learnt = Adjustments(config={"a": 1}, mem_gb=9.0, exclude=["gl001"])
    situation = replace(FRESH, adjustments=learnt, usable_nodes=["gl001", "gl002", "gl003"])
    decision = decide(finding("hang", "gl002"), situation, config())
    assert decision.adjustments == learnt.model_copy(update={"exclude": ["gl001", "gl002"]})
    assert decision.note == "next: not on gl002"


def test_nodes_are_not_avoided_where_too_few_would_be_left() -> None:
    situation = replace(FRESH, num_nodes=2, usable_nodes=["gl001", "gl002"])
    decision = decide(finding("hang", "gl002"), situation, config())
    assert (decision.action, decision.adjustments.exclude) == ("requeue", [])
    assert "gl002 cannot be avoided" in decision.note


def test_nodes_that_fail_again_and_again_are_avoided_after_any_outcome() -> None:
    situation = replace(FRESH, failing_nodes=["gl004"], usable_nodes=["gl001", "gl004"])
    decision = decide(finding("node_failure", "gl004"), situation, config())
    assert (decision.action, decision.adjustments.exclude) == ("requeue_changed", ["gl004"])


def test_the_defaults_are_legal() -> None:
    recovery.check(RecoveryConfig())


@pytest.mark.parametrize(
    ("changes", "message", "hint"),
    [
        ({"policy": {"wall_time": "resume"}}, "wall_time", "walltime"),
        ({"policy": {"walltime": "resum"}}, "recovery.policy.walltime=resum`", "resume"),
        ({"policy": {"task_error": "resume"}}, "never retried", "command again"),
        ({"policy": {"cancelled": "resume"}}, "nothing follows", "legal"),
        ({"policy": {"completed": "stop"}}, "nothing follows", "legal"),
        ({"retries": {"crsh": 1}}, "crsh", "crash"),
        ({"retries": {"crash": -1}}, "retries.crash=-1", ""),
        ({"max_attempts": 0}, "max_attempts=0", ""),
        ({"max_without_progress": 0}, "max_without_progress=0", ""),
        ({"keep_checkpoints": 0}, "keep_checkpoints=0", ""),
        ({"stop_grace_s": 0}, "stop_grace_s=0", ""),
        ({"hang_min_s": float("nan")}, "hang_min_s=nan", ""),
        ({"checkpoint_every_steps": 0}, "checkpoint_every_steps=0", ""),
        ({"memory_ladder": [{}]}, "memory_ladder[0]", "mem: 1.5"),
        ({"memory_ladder": [{"mem": 2}, {"mem": 0.5}]}, "memory_ladder[1].mem=0.5", "node"),
        ({"memory_ladder": [{"mem": "all"}]}, "mem=all", "node"),
        ({"memory_ladder": [{"mem": True}]}, "mem=True", "node"),
        ({"memory_ladder": [{"data": {"num_workers": 1}}]}, "no single value", "dots"),
    ],
)  # fmt: skip
def test_bad_settings_die_before_anything_is_sent(
    changes: dict[str, Any], message: str, hint: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        recovery.check(config(**changes))
    assert message in str(refused.value)
    assert hint in (refused.value.hint or "")


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"memory_ladder": [{"mem": 2.0}, {"data.workers": 0}]}, r"memory_ladder\[1\]"),
        ({"micro_batch_key": "trainer.nope"}, "micro_batch_key"),
    ],
)
def test_a_key_that_the_config_has_not_is_refused_at_submission(
    values: dict[str, Any], place: str
) -> None:
    with pytest.raises(ConfigError, match=place):
        check_keys(config(**values), {"data.num_workers"}.__contains__)


def test_keys_that_the_config_has_pass() -> None:
    check_keys(config(memory_ladder=[{"data.num_workers": 0}]), {"data.num_workers"}.__contains__)
