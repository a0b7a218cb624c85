"""What a check found, and what the checks look at."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from launcher.settings import StudyLauncherConf

if TYPE_CHECKING:
    from collections.abc import Sequence

    from launcher.compose import WantedRun
    from launcher.estimates.memory import Budget
    from launcher.measures import Measure
    from launcher.preflight.facts import SiteFacts

Level = Literal["ok", "warning", "error", "unknown"]
"""`error` refuses the submission; `unknown`: the check could not be made."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The answer of one check."""

    check: str
    level: Level
    reason: str
    """One line: what is wrong with which value, or what was found in order."""
    hint: str = ""
    runs: str = ""
    """Name of the run that it is about; empty where it is about all."""
    budget: Budget | None = None
    """What the memory of a node goes to, where that was predicted."""
    limit_gb: float | None = None


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A planned submission."""

    runs: Sequence[WantedRun]
    """Those that will be sent, and what they require."""
    scheduler: str
    study_dir: str
    site: SiteFacts | None
    """None where runs stay on this machine."""
    measures: Callable[[WantedRun], Sequence[Measure]]
    """What earlier runs of the same profile took."""
    task_function: Callable[..., Any] | None = None
    test_only: Callable[[], None] | None = None
    """Asks the scheduler whether it would take the jobs; raises what it says."""

    @property
    def settings(self) -> StudyLauncherConf:
        """Those of the command."""
        return self.runs[0].settings


Check = Callable[[Subject], Iterable[Finding]]
CheckT = TypeVar("CheckT", bound=Check)
CHECKS: dict[str, Check] = {}
"""All checks by name, in the order in which they are shown."""


def check(function: CheckT) -> CheckT:
    """Register a check under the name of its function."""
    CHECKS[function.__name__] = function
    return function


def ok(name: str, reason: str) -> Finding:
    """A check that found nothing wrong."""
    return Finding(check=name, level="ok", reason=reason)


def distinct(runs: Iterable[WantedRun], need: Callable[[WantedRun], object]) -> list[WantedRun]:
    """The first run of each need: what holds for one holds for the others."""
    found: dict[str, WantedRun] = {}
    for run in runs:
        found.setdefault(repr(need(run)), run)
    return list(found.values())
