"""Named checks of a planned submission, before anything is sent.

`inspect` runs them, `refuse` stops a submission that would fail, `show` is `launch doctor`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Any

from launcher.declaring import with_required
from launcher.errors import SubmissionError, one_of
from launcher.preflight import (  # noqa: F401 - they register
    memory_checks,
    place_checks,
    run_checks,
    site_checks,
)
from launcher.preflight.facts import SiteFacts
from launcher.preflight.findings import CHECKS, Finding, Subject
from launcher.scheduler.slurm import SlurmScheduler

if TYPE_CHECKING:
    from launcher.compose import WantedRun
    from launcher.submit import Submission

_ORDER = (
    "partition",
    "node_size",
    "walltime",
    "limits",
    "requeue",
    "node_names",
    "output_folder",
    "importable",
    "wandb",
    "workers",
    "host_memory",
    "gpu_memory",
    "signal_lead",
    "scheduler",
)
"""The most telling first; `sbatch --test-only`, which says least, at the end."""
_FIRST = ("partition",)
"""If one of these fails, what SLURM says of the rest only repeats it."""


_SLOW = ("importable",)
"""Made beside the others."""


def subject_of(
    submission: Submission, runs: Sequence[WantedRun], task_function: Callable[..., Any] | None
) -> Subject:
    """What the checks look at: runs that would be sent, and their task if it is to be tried."""
    from launcher import measures

    scheduler = submission.scheduler
    remembered = cache(measures.remembered)  # files, for as long as this submission is looked at
    return Subject(
        runs=runs,
        scheduler=submission.scheduler_name,
        study_dir=str(submission.study_dir),
        site=SiteFacts(scheduler.client) if isinstance(scheduler, SlurmScheduler) else None,
        measures=lambda run: remembered(run.profile_dir),
        task_function=task_function,
        test_only=lambda: submission.test_only(runs),
    )


def inspect(subject: Subject) -> Iterator[Finding]:
    """Run the checks, in order; none where nothing is sent."""
    if not subject.runs:
        return
    names = _wanted(subject)
    with ThreadPoolExecutor(1) as pool:
        # It starts a Python of its own, which takes as long as all others together.
        slow = {name: pool.submit(_findings, name, subject) for name in names if name in _SLOW}
        for name in names:
            findings = slow[name].result() if name in slow else _findings(name, subject)
            yield from findings
            if name in _FIRST and any(finding.level == "error" for finding in findings):
                return


def _findings(name: str, subject: Subject) -> list[Finding]:
    return list(CHECKS[name](subject))


def _wanted(subject: Subject) -> list[str]:
    """Names of the checks to make, in order.

    Raises:
        ConfigError: a check that is to be left out does not exist.
    """
    skipped = subject.settings.skip_checks
    for name in skipped:
        one_of("hydra.launcher.skip_checks", name, _ORDER)
    return [name for name in sorted(CHECKS, key=_ORDER.index) if name not in skipped]


def refuse(findings: Sequence[Finding]) -> None:
    """Stop a submission in which something cannot work.

    Raises:
        SubmissionError: names the first such thing, and how many more there are.
    """
    errors = [finding for finding in findings if finding.level == "error"]
    if not errors:
        return
    first = errors[0]
    run = f"`{first.runs}`: " if first.runs else ""
    more = [f"{f.check}: {f.reason}" for f in errors[1:]]
    text = "\n".join([f"{run}{first.reason}", *more])
    hint = first.hint + ("; " if first.hint else "")
    raise SubmissionError(text, hint=f"{hint}hydra.launcher.skip_checks=[{first.check}] sends it")


def warnings(findings: Sequence[Finding]) -> list[str]:
    """What may go wrong, a line each; of equal ones the first."""
    found = [f for f in findings if f.level == "warning"]
    texts = [f"warning: {f.reason}" + (f" ({f.hint})" if f.hint else "") for f in found]
    return list(dict.fromkeys(texts))


def show(submission: Submission, task_function: Callable[..., Any]) -> None:
    """`launch doctor`: run all checks and print them, whatever they find.

    Raises:
        SubmissionError: something would be refused.
    """
    from launcher.ui import preflight as ui_preflight

    runs = with_required(submission.wanted)
    findings = list(inspect(subject_of(submission, runs, task_function)))
    show_findings = ui_preflight.print_json if submission.settings.as_json else ui_preflight.show
    show_findings(findings, len(runs))
    errors = sum(finding.level == "error" for finding in findings)
    if errors:
        raise SubmissionError(f"{errors} of {len(CHECKS)} checks would refuse this submission")
