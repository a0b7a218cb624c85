"""What follows an outcome: the policy of the settings, the budgets, the changes. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from launcher.errors import ConfigError, at_least, one_of
from launcher.outcomes import Finding
from launcher.records import Action, Adjustments, Outcome, VerdictRecord
from launcher.settings import RecoveryConfig

WORDS = ("resume", "less_memory", "smaller_micro_batch", "elsewhere", "stop")
"""What a policy can say."""
FINAL = ("completed", "cancelled")
"""Outcomes after which nothing is to be decided."""
RETRIED = tuple(word for word in get_args(Outcome) if word not in FINAL)
"""Outcomes that a policy is about."""
SUSPECT_AFTER = 2
"""Failures on a node from which on a study avoids it."""
_CLEAR_GAIN = 1.01
"""Memory must grow by more than rounding."""


def check(config: RecoveryConfig) -> None:
    """Refuse settings that would only be found out when a run has failed.

    Raises:
        ConfigError: what is wrong, and what is legal.
    """
    where = "hydra.launcher.recovery"
    for outcome, word in config.policy.items():
        _known_outcome(f"{where}.policy", outcome)
        one_of(f"{where}.policy.{outcome}", word, WORDS)
    if config.policy.get("task_error", "stop") != "stop":
        raise ConfigError(
            f"`{where}.policy.task_error={config.policy['task_error']}`: an error of the task is"
            " never retried by itself",
            hint="mend the task and issue the command again, or let it catch what may pass",
        )
    for outcome, count in config.retries.items():
        _known_outcome(f"{where}.retries", outcome)
        at_least(f"{where}.retries.{outcome}", count, 0)
    at_least(f"{where}.max_attempts", config.max_attempts, 1)
    for name in ("max_without_progress", "keep_checkpoints"):
        at_least(f"{where}.{name}", getattr(config, name), 1)
    for name in (
        "checkpoint_every_min",
        "checkpoint_every_steps",
        "stop_grace_s",
        "rendezvous_timeout_s",
        "hang_factor",
        "hang_min_s",
    ):
        value = getattr(config, name)
        if value is not None and not value > 0:
            raise ConfigError(f"`{where}.{name}={value}` must be above 0")
    for number, rung in enumerate(config.memory_ladder):
        _check_rung(f"{where}.memory_ladder[{number}]", rung)


def check_keys(config: RecoveryConfig, has: Callable[[str], bool]) -> None:
    """Refuse config keys that are not there, which would be found out when memory has run out.

    Args:
        config: The settings.
        has: Whether the composed config of a run has a dotted key.

    Raises:
        ConfigError: a key is unknown.
    """
    named = {
        f"memory_ladder[{number}]": [key for key in rung if key != "mem"]
        for number, rung in enumerate(config.memory_ladder)
    }
    named["micro_batch_key"] = [config.micro_batch_key] if config.micro_batch_key else []
    for place, keys in named.items():
        for key in keys:
            if not has(key):
                raise ConfigError(
                    f"`hydra.launcher.recovery.{place}` names `{key}`, which the config of the run"
                    " has not",
                    hint="name a key of the config with dots, e.g. data.num_workers",
                )


def _known_outcome(key: str, outcome: str) -> None:
    if outcome in FINAL:
        raise ConfigError(
            f"`{key}.{outcome}`: nothing follows a run that is {outcome}",
            hint=f"legal: {', '.join(RETRIED)}",
        )
    one_of(key, outcome, RETRIED)


def _check_rung(key: str, rung: Any) -> None:
    if not isinstance(rung, Mapping) or not rung:
        raise ConfigError(
            f"`{key}={rung}` is no rung",
            hint="write a factor of memory or upper bounds, e.g. {mem: 1.5, data.num_workers: 2}",
        )
    for name, value in rung.items():
        if name == "mem":
            is_factor = isinstance(value, int | float) and not isinstance(value, bool)
            if value != "node" and not (is_factor and value > 1):
                raise ConfigError(
                    f"`{key}.mem={value}` is neither a factor above 1 nor `node`",
                    hint="e.g. mem: 1.5, or mem: node for all that a node has",
                )
        elif isinstance(value, Mapping | list):
            raise ConfigError(
                f"`{key}.{name}={value}` is no single value",
                hint="name the config key with dots, e.g. data.num_workers: 2",
            )


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What a decision depends on besides the outcome."""

    lives: int
    """Of this sending, the one that has just ended included."""
    past: Sequence[VerdictRecord] = ()
    """Verdicts on the earlier lives of this sending."""
    progressed: bool = True
    """Whether this life saved something newer than those before."""
    adjustments: Adjustments = field(default_factory=Adjustments)
    """What this life had changed already."""
    mem_gb: float | None = None
    """Memory that it had on each node [GB]."""
    node_mem_gb: float | None = None
    """Memory of the nodes that it could have [GB]."""
    num_nodes: int = 1
    usable_nodes: Sequence[str] | None = None
    """Nodes of its partition that take jobs, None where nobody says."""
    failing_nodes: Sequence[str] = ()
    """Nodes that this study has seen fail again and again."""
    value: Callable[[str], Any] = lambda _: None
    """Value of a config key; None where there is no such key."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What follows."""

    action: Action
    note: str = ""
    adjustments: Adjustments


def decide(finding: Finding, situation: Situation, config: RecoveryConfig) -> Decision:
    """What follows an outcome."""
    before = situation.adjustments
    outcome = finding.outcome
    if outcome in FINAL:
        return Decision(action="stop", note="stays cancelled", adjustments=before)
    word = config.policy.get(outcome, "stop")
    if word == "stop":
        return Decision(action="stop", note=_why_stop(outcome), adjustments=before)
    spent = _spent(outcome, situation, config)
    if spent:
        return Decision(action="stop", note=f"budget spent: {spent}", adjustments=before)
    change = {"less_memory": _less_memory, "smaller_micro_batch": _smaller_micro_batch}.get(word)
    decision = change(situation, config) if change else _requeue(before)
    if decision.action == "stop":
        return decision
    return _avoiding(decision, finding, situation, elsewhere=word == "elsewhere")


def _why_stop(outcome: Outcome) -> str:
    if outcome == "task_error":
        return "an error of the task is never retried by itself"
    return f"hydra.launcher.recovery.policy.{outcome} is stop"


def _spent(outcome: Outcome, situation: Situation, config: RecoveryConfig) -> str:
    """Which budget is spent, in words; empty while none is."""
    if situation.lives >= config.max_attempts:
        return f"{_times(situation.lives, 'attempt')} of at most {config.max_attempts}"
    allowed = config.retries.get(outcome)
    before = sum(1 for verdict in situation.past if verdict.outcome == outcome)
    if allowed is not None and before >= allowed:
        tried = _times(before, "retry", "retries")
        return f"{tried} after {outcome}, at most {allowed}"
    in_vain = 0
    for progressed in (situation.progressed, *(v.progressed for v in reversed(situation.past))):
        if progressed:
            break
        in_vain += 1
    if in_vain >= config.max_without_progress:
        return f"{_times(in_vain, 'attempt')} in a row without progress"
    return ""


def _times(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


def _requeue(adjustments: Adjustments, note: str = "") -> Decision:
    return Decision(action="requeue", note=note, adjustments=adjustments)


def _changed(before: Adjustments, *, config: dict[str, Any], note: str, **others: Any) -> Decision:
    after = before.model_copy(update={"config": {**before.config, **config}, **others})
    return Decision(action="requeue_changed", note=note, adjustments=after)


def _less_memory(situation: Situation, config: RecoveryConfig) -> Decision:
    """Climb to the next rung that changes anything."""
    before = situation.adjustments
    first_gb = before.mem_first_gb or situation.mem_gb
    for rung in config.memory_ladder:
        bounds = _bounds(rung, before, situation.value)
        mem_gb = _rung_memory_gb(rung.get("mem"), first_gb, situation.node_mem_gb)
        if mem_gb is not None and mem_gb <= (situation.mem_gb or math.inf) * _CLEAR_GAIN:
            mem_gb = None
        if not bounds and mem_gb is None:
            continue
        parts = [f"{name}={value}" for name, value in bounds.items()]
        others: dict[str, Any] = {}
        if mem_gb is not None:
            parts.insert(0, f"{mem_gb:.4g} GB per node instead of {situation.mem_gb:.4g} GB")
            others = {"mem_gb": mem_gb, "mem_first_gb": first_gb}
        return _changed(before, config=bounds, note="next: " + ", ".join(parts), **others)
    known = "" if situation.mem_gb is not None else "; how much memory it had is unknown"
    note = f"the memory ladder has no further rung{known}"
    return Decision(action="stop", note=note, adjustments=before)


def _rung_memory_gb(rung: Any, first_gb: float | None, node_gb: float | None) -> float | None:
    """Memory that a rung asks for on each node, never more than a node has."""
    if rung is None:
        return None
    if rung == "node":
        return node_gb
    wanted = first_gb * float(rung) if first_gb is not None else None
    if wanted is None or node_gb is None:
        return wanted
    return min(wanted, node_gb)


def _bounds(
    rung: Mapping[str, Any], before: Adjustments, value: Callable[[str], Any]
) -> dict[str, Any]:
    """Config values that a rung changes: numbers above their bound, and others that differ."""
    changed = {}
    for name, bound in rung.items():
        if name == "mem":
            continue
        current = before.config.get(name, value(name))
        is_bound = _is_number(bound) and _is_number(current)
        if current is None:
            continue  # a config that knows no such key gains nothing by it
        if (current > bound) if is_bound else (current != bound):
            changed[name] = bound
    return changed


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _smaller_micro_batch(situation: Situation, config: RecoveryConfig) -> Decision:
    before, key = situation.adjustments, config.micro_batch_key
    if key is None:
        note = (
            "no key says how large a micro-batch is; set hydra.launcher.recovery.micro_batch_key"
            " (e.g. trainer.micro_batch_size), if the effective batch stays"
        )
        return Decision(action="stop", note=note, adjustments=before)
    current = before.config.get(key, situation.value(key))
    if not _is_number(current):
        note = f"`{key}` is {current!r}, which cannot be halved"
        return Decision(action="stop", note=note, adjustments=before)
    if current <= 1:
        note = f"`{key}` is 1 already"
        return Decision(action="stop", note=note, adjustments=before)
    smaller = math.ceil(current / 2)
    return _changed(before, config={key: smaller}, note=f"next: {key}={smaller}, not {current}")


def _avoiding(
    decision: Decision, finding: Finding, situation: Situation, *, elsewhere: bool
) -> Decision:
    """Without the suspects, where the policy says so, and without nodes that fail again and again.

    Not where too few nodes would be left: a job that can never start is no better.
    """
    known = set(decision.adjustments.exclude)
    wanted = [*(finding.suspects if elsewhere else ()), *situation.failing_nodes]
    added = [node for node in dict.fromkeys(wanted) if node not in known]
    if not added:
        return decision
    exclude = [*decision.adjustments.exclude, *added]
    left = None
    if situation.usable_nodes is None and situation.failing_nodes:
        return decision  # nobody says how many nodes there are: they might be all of them
    if situation.usable_nodes is not None:
        left = len(set(situation.usable_nodes) - set(exclude))
    if left is not None and left < situation.num_nodes:
        note = f"{', '.join(added)} cannot be avoided: {_times(left, 'node')} would be left"
        return Decision(
            action=decision.action,
            note="; ".join(filter(None, [decision.note, note])),
            adjustments=decision.adjustments,
        )
    return Decision(
        action="requeue_changed",
        note="; ".join(filter(None, [decision.note, f"next: not on {', '.join(added)}"])),
        adjustments=decision.adjustments.model_copy(update={"exclude": exclude}),
    )
