"""The options of all runs that a command would send, those of equal need together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from launcher import store
from launcher.compose import WantedRun, as_asked
from launcher.declaring import with_required
from launcher.errors import ConfigError
from launcher.planning.comparing import Comparer, Comparison
from launcher.planning.questions import Question, question_of
from launcher.scheduler.slurm import SlurmScheduler
from launcher.ui import options as ui_options

if TYPE_CHECKING:
    from launcher.submit import Submission


def show(submission: Submission) -> None:
    """Print the options of the runs that a command would send.

    Raises:
        ConfigError: it would send nothing, or not to SLURM.
    """
    if not isinstance(submission.scheduler, SlurmScheduler):
        raise ConfigError(
            "`launch plan` compares places of a cluster, and these runs stay on this machine",
            hint="add hydra/launcher=slurm",
        )
    todo = submission.plan().to_submit()
    if not todo:
        raise ConfigError(
            f"none of these {len(submission.wanted)} runs would be sent: they are done, or on"
            " their way",
            hint="`launch status` shows them; hydra.launcher.force=true plans them all the same",
        )
    compared = _compared(submission, todo)
    if submission.settings.as_json:
        ui_options.print_json(compared)
        return
    for comparison in compared:
        ui_options.show(comparison)


def _compared(submission: Submission, todo: Iterable[WantedRun]) -> list[Comparison]:
    """Comparisons of runs, what others require first; runs of equal answers together."""
    asked = _questions(submission, todo)
    together = Counter(question.site_key for question, runs in asked for _ in runs)
    comparer = Comparer()
    found: list[Comparison] = []
    for question, runs in asked:
        new = comparer.compare(question, runs, compares=True, together=together[question.site_key])
        same = next((old for old in found if old.says_what(new)), None)
        if same is None:
            found.append(new)
        else:
            found[found.index(same)] = replace(same, runs=(*same.runs, *new.runs))
    return found


def _questions(
    submission: Submission, todo: Iterable[WantedRun]
) -> list[tuple[Question, list[str]]]:
    """Different questions of runs, with the names of those that ask them."""
    wanted = {run.key for run in todo}
    found: dict[str, tuple[Question, list[str]]] = {}
    for run in with_required(submission.wanted):
        if run.key not in wanted:
            continue
        done = 0 if submission.settings.force else _saved_steps(run)
        question = question_of(as_asked(run), profile_dir=run.profile_dir, done_steps=done)
        found.setdefault(question.key, (question, []))[1].append(run.name)
    return list(found.values())


def _saved_steps(run: WantedRun) -> int:
    """Optimizer steps of its newest checkpoint, where an earlier life left one."""
    lives = store.attempts(run.run_dir, key=run.key)
    return max((life.saved_step or 0 for life in lives), default=0)
