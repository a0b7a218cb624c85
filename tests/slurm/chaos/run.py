"""Runs one case and says how it went."""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from launcher import store
from tests.slurm import CommandFailedError, Lab, LabError

from .faults import Fault
from .journal import Journal
from .launchers import Launcher, Shape
from .trial import Trial

REFERENCE_TIMEOUT_S = 180.0


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a case went: what was seen, nothing judged."""

    fault: str
    launcher: str
    ranks: int
    journal: Journal
    state: str
    """What SLURM says in the end, `hangs` if it had to be cancelled."""

    outcomes: Sequence[str] = ()
    """What our records say of each life, oldest first."""

    neighbours: Sequence[tuple[int, bool]] = ()
    """Lives of each other array element, and whether it completed."""

    left_behind: str = ""
    problem: str = ""
    """Why the case could not be carried out."""

    took_s: float = 0.0
    is_identical: bool | None = None
    """None where it did not complete."""

    evidence: list[str] = field(default_factory=list)
    """What our verdicts rest on."""

    log: str = ""
    """The end of each log, for a message."""

    @property
    def has_completed(self) -> bool:
        """Whether the training came to its end."""
        return self.journal.result is not None

    def summary(self) -> str:
        """One line, for those who wait."""
        identical = {True: "bit-identical", False: "other weights", None: "not completed"}
        return (
            f"took {self.took_s:.0f} s: {self.state}, {identical[self.is_identical]},"
            f" {len(self.journal.lives)} lives, {self.journal.steps_lost} of"
            f" {len(self.journal.steps)} steps again, {' '.join(self.outcomes)}"
        )


def run_case(
    lab: Lab, launcher: Launcher, fault: Fault, ranks: int, nodes: Sequence[str], sha: str | None
) -> Result:
    """Start a run, disturb it, wait for its end.

    Args:
        lab: Where.
        launcher: Which launcher starts it.
        fault: What is done to it.
        ranks: 1, or 4 on two nodes.
        nodes: Those that are its own; not used by faults that need others.
        sha: Hash of the final state of the undisturbed run.
    """
    began_s = time.monotonic()
    trial = Trial(
        lab=lab,
        launcher=launcher,
        shape=replace(
            fault.shape,
            ranks=ranks,
            nodes=tuple(nodes) if fault.is_bound else (),
            mem_mb=fault.mem_mb.get(ranks, fault.shape.mem_mb),
        ),
        name=f"{fault.name}-{ranks}-{launcher.name}",
        tags=fault.tags,
        overrides=(
            *fault.science,
            *fault.overrides,
            *((f"fault.rank={ranks - 1}",) if _is_from_inside(fault) else ()),
            *(fault.ours if launcher.is_ours else ()),
        ),
    )
    state, problem = _carry_out(trial, fault)
    try:
        trial.close()
        left = trial.left_behind()
    except (LabError, CommandFailedError) as error:
        problem, left = problem or str(error), ""
    journal = trial.journal()
    outcomes, evidence = _concluded(trial)
    return Result(
        fault=fault.name,
        launcher=launcher.name,
        ranks=ranks,
        journal=journal,
        state=state,
        outcomes=outcomes,
        evidence=evidence,
        neighbours=[_neighbour(Journal.of(path)) for path in trial.neighbour_dirs],
        left_behind=left,
        problem=problem,
        took_s=time.monotonic() - began_s,
        log=trial.log_tails(),
        is_identical=journal.result["sha256"] == sha if journal.result else None,
    )


def not_run(launcher: Launcher, fault: Fault, ranks: int, why: str) -> Result:
    """The result of a case that was not begun."""
    return Result(
        fault=fault.name,
        launcher=launcher.name,
        ranks=ranks,
        journal=Journal(ranks=[], steps=[], result=None),
        state="-",
        problem=why,
    )


def _carry_out(trial: Trial, fault: Fault) -> tuple[str, str]:
    """SLURM's state in the end, and what kept the case from being carried out."""
    try:
        trial.start()
        fault.do(trial)
        is_over = trial.wait_for_end(fault.timeout_s)
        return (trial.state() if is_over else "hangs"), ""
    except (LabError, CommandFailedError) as error:
        return _state_if_known(trial), str(error)


def reference(lab: Lab, launcher: Launcher, ranks: int, science: Sequence[str]) -> str:
    """Hash of the final state of an undisturbed run.

    Raises:
        LabError: It does not complete.
    """
    label = "".join(c if c.isalnum() else "-" for c in "".join(science))
    trial = Trial(
        lab=lab,
        launcher=launcher,
        shape=Shape(ranks=ranks),
        name=f"undisturbed-{ranks}-{launcher.name}{label}",
        overrides=(*science, "step_ms=0"),
    )
    try:
        trial.start()
        trial.wait_for_end(REFERENCE_TIMEOUT_S)
        result = trial.journal().result
        if result is None:
            raise LabError("the undisturbed run did not complete", where=trial.log_tails())
        return str(result["sha256"])
    finally:
        trial.close()


def _state_if_known(trial: Trial) -> str:
    with contextlib.suppress(LabError, CommandFailedError):
        return trial.state()
    return "unknown"


def _is_from_inside(fault: Fault) -> bool:
    return any(word.startswith("fault=") for word in fault.overrides)


def _concluded(trial: Trial) -> tuple[list[str], list[str]]:
    """Outcome of each life, and the evidence of its verdict, from our launcher's records."""
    if not trial.launcher.is_ours:
        return [], []
    said = {verdict.attempt: verdict for verdict in store.verdicts(trial.run_dir)}
    told = {record.attempt: record for record in store.attempts(trial.run_dir)}
    outcomes: list[str] = []
    evidence: list[str] = []
    for attempt in sorted(said.keys() | told.keys()):
        verdict = said.get(attempt)
        if verdict is None:
            outcomes.append(told[attempt].outcome or "none")
            continue
        outcomes.append(verdict.outcome)
        evidence.append(
            f"{attempt} {verdict.outcome}, {verdict.action} by {verdict.by}"
            f" {verdict.note}: {'; '.join(verdict.evidence)}"
        )
    return outcomes, evidence


def _neighbour(journal: Journal) -> tuple[int, bool]:
    return len(journal.lives), journal.result is not None
