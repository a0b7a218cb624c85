"""What a report says of a study besides its scores: why, what was run, how it ended."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher import store
from launcher.files import seconds_between
from launcher.states import RunStatus
from launcher.studies import Study
from launcher.tracking import links

_HEADINGS = ("Question", "Expected")
_DIGITS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """One line of the table of all runs."""

    name: str
    key: str
    state: str
    attempts: int
    job_id: str
    node: str
    minutes: str
    mem_peak_gb: str
    commit: str
    scores: dict[str, float]
    reason: str
    url: str | None
    """Where W&B shows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """A study in words.

    Attributes:
        notes: What its file in conf/study/ asks and expects, heading -> text; may be empty.
        command: As it was issued, for a shell.
        states: Number of runs by state.
        rows: One for each run, those that are required last.
        code: Versions of the code that runs were sent with.
        url: Where W&B shows the study; None where no run was online.
    """

    name: str
    created: str
    notes: dict[str, str]
    command: str
    scheduler: str
    cluster: str
    states: dict[str, int]
    rows: tuple[RunRow, ...]
    code: tuple[str, ...]
    url: str | None

    @property
    def failures(self) -> list[RunRow]:
        """Runs that ended, and not well."""
        return [row for row in self.rows if row.state in ("failed", "cancelled")]


def facts_of(study: Study, shown: Sequence[str]) -> Facts:
    """Gather what the folder of a study says.

    Args:
        study: The study.
        shown: Metrics that the table of runs has.
    """
    record = study.record
    required = len(record.prerequisites)
    found = study.status()
    statuses = [*found[required:], *found[:required]]
    states: dict[str, int] = {}
    for status in statuses[: len(record.runs)]:
        states[status.state] = states.get(status.state, 0) + 1
    rows = tuple(_row(status, shown) for status in statuses)
    urls = [row.url for row in rows if row.url is not None]
    versions = dict.fromkeys(filter(None, (_version(status) for status in statuses)))
    return Facts(
        name=record.study_id,
        created=record.created.replace("T", " ").replace("+00:00", " UTC"),
        notes=notes_of(study.path, record.overrides),
        command=shlex.join(["python", Path(record.command[0]).name, *record.command[1:]]),
        scheduler=record.scheduler,
        cluster=record.cluster,
        states=states,
        rows=rows,
        code=tuple(versions),
        url=links.study_url(urls[0], record.study_id) if urls else None,
    )


def notes_of(folder: Path, overrides: Sequence[str]) -> dict[str, str]:
    """Question and expectation of a named study, from the file that was frozen with its code."""
    chosen = [o.partition("=")[2] for o in overrides if o.lstrip("+").startswith("study=")]
    if not chosen:
        return {}
    frozen = sorted(
        (folder / "code").glob(f"*/conf/study/{chosen[-1]}.yaml"), key=lambda p: p.stat().st_mtime
    )
    return notes_in(frozen[-1].read_text()) if frozen else {}


def notes_in(text: str) -> dict[str, str]:
    """Paragraphs of the comment at the head of a file, by the word that each begins with."""
    found: dict[str, str] = {}
    heading = ""
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        said = line.lstrip("# ").rstrip()
        word, colon, rest = said.partition(":")
        if colon and word in _HEADINGS:
            heading, said = word, rest.strip()
        if heading:
            found[heading] = f"{found.get(heading, '')} {said}".strip()
    return found


def _row(status: RunStatus, shown: Sequence[str]) -> RunRow:
    result = status.result if status.state == "completed" else None
    values = result if isinstance(result, dict) else {}
    return RunRow(
        name=status.name,
        key=status.key,
        state=status.state,
        attempts=status.attempts,
        job_id=status.job_id,
        node=status.node,
        minutes=_minutes(status),
        mem_peak_gb="" if status.mem_peak_gb is None else f"{status.mem_peak_gb:.1f}",
        commit=_version(status),
        scores={name: values[name] for name in shown if isinstance(values.get(name), float)},
        reason=status.reason,
        url=links.url_of(status.run_dir),
    )


def _version(status: RunStatus) -> str:
    return status.commit[:_DIGITS] + ("+changes" if status.commit.endswith("+changes") else "")


def _minutes(status: RunStatus) -> str:
    """Time of all attempts [min], those of earlier sendings too; a killed one left no end."""
    if status.ended is None:
        return ""
    lives = store.attempts(Path(status.run_dir), key=status.key)
    spent = [seconds_between(life.started, life.ended) for life in lives if life.ended is not None]
    at_least = "≥ " if len(spent) < len(lives) else ""
    return f"{at_least}{sum(spent) / 60:.1f}"
