"""What a command will do: wanted runs x known runs x rules -> submit, keep or blocked. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from launcher.compose import WantedRun
from launcher.errors import one_of
from launcher.states import IN_HANDS, RunStatus

Action = Literal["submit", "keep", "blocked"]
PlanState = Literal[
    "new", "done", "running", "pending", "failed", "changed", "cancelled", "unknown"
]
"""`changed`: it failed, and its code or config is another one now."""
_SHOWN: Mapping[str, PlanState] = {
    "new": "new",
    "held": "new",
    "waiting": "pending",
    "pending": "pending",
    "running": "running",
    "completed": "done",
    "failed": "failed",
    "cancelled": "cancelled",
    "unknown": "unknown",
}


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What the command says about runs that are not new."""

    failed: str | None = None
    """`retry`, `keep`, or None: retry unless the task itself raised."""
    force: bool = False

    def __post_init__(self) -> None:
        """Refuse unknown words."""
        if self.failed is not None:
            one_of("hydra.launcher.failed", self.failed, ("retry", "keep"))


@dataclass(frozen=True, kw_only=True)
class PlanRow:
    """One run of a plan."""

    run: WantedRun
    state: PlanState
    action: Action
    note: str = ""
    code: str = ""
    """Code version it was sent with, or will be."""

    @property
    def gpu_hours(self) -> float:
        """GPU-hours that its time limit permits."""
        shape = self.run.shape
        return shape.nodes * shape.gpus_per_node * shape.timeout_min / 60


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a command will do with each run, those that others require first."""

    rows: Sequence[PlanRow]
    unwanted: Sequence[RunStatus] = ()
    """Runs on their way that an earlier command declared and this one does not."""
    damaged: Sequence[RunStatus] = ()
    """Runs that an earlier command declared and this one does not, and that cannot be read."""

    def to_submit(self) -> list[WantedRun]:
        """Runs that will be sent."""
        return [row.run for row in self.rows if row.action == "submit"]

    def blocked(self) -> set[str]:
        """Keys of runs that cannot be sent, because one that they require will not complete."""
        return {row.run.key for row in self.rows if row.action == "blocked"}

    @property
    def gpu_hours(self) -> float:
        """GPU-hours that the runs to send may take at most."""
        return sum(row.gpu_hours for row in self.rows if row.action == "submit")

    def codes(self) -> set[str]:
        """Code versions of its runs, the one to be sent included."""
        return {row.code for row in self.rows if row.code}


def make_plan(
    runs: Iterable[WantedRun],
    known: Mapping[str, RunStatus],
    configs: Mapping[str, str],
    code: str,
    rules: Rules,
    unwanted: Sequence[RunStatus] = (),
    damaged: Sequence[RunStatus] = (),
) -> Plan:
    """Decide for each run; runs come after those that they require.

    Args:
        runs: Wanted runs and what they require.
        known: How they stand, by key.
        configs: Hash of each whole config as it is now, by key; of runs that were never sent none.
        code: Hash of the code as it is now.
        rules: What the command says about failed and finished runs.
        unwanted: Runs that are no longer declared and still on their way.
        damaged: Runs that are no longer declared and whose records are damaged.
    """
    rows: dict[str, PlanRow] = {}
    for run in runs:
        status = known[run.key]
        changes = _changes(status, configs.get(run.key, ""), code)
        row = _decide(run, status, changes, rules)
        stuck = next((n for n in run.requires.values() if _is_stuck(rows[n.key])), None)
        if stuck is not None and row.action == "submit":
            note = f"requires {stuck.name}, which {rows[stuck.key].state}"
            row = PlanRow(run=run, state=row.state, action="blocked", note=note)
        rows[run.key] = PlanRow(
            run=run,
            state=row.state,
            action=row.action,
            note=row.note,
            code=code if row.action == "submit" else status.code,
        )
    return Plan(rows=list(rows.values()), unwanted=unwanted, damaged=damaged)


def _is_stuck(row: PlanRow) -> bool:
    """Whether a run will not complete by this command."""
    return row.action == "blocked" or (
        row.action == "keep" and row.state in ("failed", "cancelled")
    )


def _changes(status: RunStatus, config_sha: str, code: str) -> list[str]:
    if not status.code:
        return []
    changed = {"code": status.code != code, "config": status.config_sha != config_sha}
    return [what for what, is_other in changed.items() if is_other]


def _decide(run: WantedRun, status: RunStatus, changes: list[str], rules: Rules) -> PlanRow:
    state = _SHOWN[status.state]
    if run.is_followed:
        return _of_another_study(run, status, state)
    if state == "new":
        return PlanRow(run=run, state=state, action="submit", note=_unsent(status))
    if status.state in IN_HANDS:
        since = f"as submitted; {' and '.join(changes)} changed since" if changes else ""
        return PlanRow(run=run, state=state, action="keep", note=since or status.reason)
    if rules.force and state != "unknown":
        return PlanRow(run=run, state=state, action="submit", note="forced")
    if state == "done":
        return PlanRow(run=run, state=state, action="keep")
    if state == "cancelled" and status.is_lost:
        return PlanRow(run=run, state=state, action="submit", note="goes on after ctrl-C")
    if state == "cancelled":
        again = rules.failed == "retry"
        note = "again" if again else "stays cancelled; failed=retry sends it again"
        return PlanRow(run=run, state=state, action="submit" if again else "keep", note=note)
    if state == "unknown":
        return PlanRow(run=run, state=state, action="keep", note=status.reason)
    return _decide_failed(run, status, changes, rules)


def _of_another_study(run: WantedRun, status: RunStatus, state: PlanState) -> PlanRow:
    """Nothing of another study is sent from here."""
    if state == "done" or status.state in IN_HANDS:
        return PlanRow(run=run, state=state, action="keep", note=status.reason)
    note = status.reason.splitlines()[0] if status.reason else "of another study"
    return PlanRow(run=run, state=state, action="blocked", note=note)


def _unsent(status: RunStatus) -> str:
    return "was not sent before" if status.state == "held" else ""


def _decide_failed(run: WantedRun, status: RunStatus, changes: list[str], rules: Rules) -> PlanRow:
    reason = status.reason.splitlines()[0] if status.reason else "failed"
    if rules.failed == "keep":
        return PlanRow(run=run, state="failed", action="keep", note=reason)
    if rules.failed == "retry":
        return PlanRow(run=run, state="failed", action="submit", note=f"again after: {reason}")
    if status.outcome != "task_error":
        return PlanRow(run=run, state="failed", action="submit", note=f"again after: {reason}")
    if changes:
        note = f"again, {' and '.join(changes)} changed after: {reason}"
        return PlanRow(run=run, state="changed", action="submit", note=note)
    note = f"{reason}; sent again after a change, or with failed=retry"
    return PlanRow(run=run, state="failed", action="keep", note=note)
