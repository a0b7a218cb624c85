"""Every table and message on the terminal. Data goes to stdout, everything else to stderr."""

from __future__ import annotations

import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console, Group, JustifyMethod
from rich.live import Live
from rich.table import Table
from rich.text import Text

from launcher import identity
from launcher.files import seconds_between, seconds_since
from launcher.states import RunStatus

if TYPE_CHECKING:
    from launcher.doctor import Diagnosis
    from launcher.plan import Plan

out = Console(highlight=False, soft_wrap=True)
err = Console(
    stderr=True, highlight=False, soft_wrap=True, width=None if sys.stderr.isatty() else 240
)

DIAGNOSIS_COLUMNS = 96
"""Width of the text of a diagnosis."""
SYMBOLS: dict[str, tuple[str, str]] = {
    "new": ("·", "dim"),
    "held": ("·", "yellow"),
    "waiting": ("◌", "dim"),
    "pending": ("○", "dim"),
    "running": ("▶", "cyan"),
    "completed": ("✓", "green"),
    "done": ("✓", "green"),
    "failed": ("✗", "red"),
    "changed": ("±", "yellow"),
    "cancelled": ("⊘", "magenta"),
    "unknown": ("?", "yellow"),
}
_URGENCY = {"failed": 0, "unknown": 0, "running": 1, "held": 2}
_ALWAYS = {"#", "run", "state"}
_RIGHT = {"#", "elapsed", "tries", "ETA"}
_LONG = {"run", "reason"}
_SPARED = ("job", "node", "memory", "tries", "code", "last", "step", "elapsed")
"""Columns that a narrow terminal leaves out, in this order; `launch show` has all of them."""
_REASON_COLUMNS = 40
"""Width from which on a reason rather takes several lines."""
STATUS_ROWS = 1000
"""Rows of `launch status` that are shown unless somebody asks for all of them."""
PLAN_ROWS = 40
"""Rows of a plan that are shown unless somebody asks for all of them."""


def say(message: str) -> None:
    """One plain line."""
    err.print(Text(message))


def job_lines(rows: Sequence[tuple[str, str]], total: int) -> str:
    """Job id and name of each of the first runs, one line each, and how many more there are."""
    lines = [f"  {job_id:>10}  {name}" for job_id, name in rows]
    if total > len(rows):
        lines.append(f"  {'...':>10}  and {total - len(rows)} more")
    return "\n".join(lines)


def show_plan(plan: Plan, study_dir: Path, scheduler: str, *, everything: bool = False) -> None:
    """Print what a command will do: the shared part once, then one row per run."""
    console = out_console() if everything else err
    wanted = [row.run.overrides for row in plan.rows]
    console.print(Text(f"study {study_dir.name} on {scheduler}", style="bold"))
    if common := identity.shared(wanted):
        console.print(Text(f"all runs: {' '.join(common)}"))
    shown = len(plan.rows) if everything else PLAN_ROWS
    console.print(_plan_table(plan, shown))
    if plan.rows[shown:]:
        more = len(plan.rows) - shown
        console.print(Text(f"... and {more} more rows; hydra.launcher.dry_run=true shows all"))
    for status in plan.unwanted:
        console.print(Text(f"no longer wanted: {status.name} is {status.state}", style="yellow"))
    if plan.unwanted:
        console.print(Text("hydra.launcher.unwanted=cancel cancels them"))
    for status in plan.damaged:
        said = f"no longer wanted, and left alone: {status.name}, {status.reason}"
        console.print(Text(said, style="yellow"))
    console.print(Text(_plan_summary(plan)))


def _plan_table(plan: Plan, shown: int) -> Table:
    differs = identity.differences([row.run.overrides for row in plan.rows])
    columns = list(dict.fromkeys(key for run in differs for key in run))
    mixes = len(plan.codes()) > 1
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("#", justify="right")
    for name in [*columns, "state", "does", "shape", "limit"]:
        table.add_column(Text(name))
    has_gpus = any(row.gpu_hours for row in plan.rows)
    if has_gpus:
        table.add_column("GPU-h", justify="right")
    for name in [*(["code"] if mixes else []), "note"]:
        table.add_column(name)
    for index, (row, values) in enumerate(zip(plan.rows[:shown], differs, strict=False)):
        table.add_row(
            str(index),
            *(Text(values.get(name, "")) for name in columns),
            _state(row.state),
            row.action,
            str(row.run.shape),
            _minutes(row.run.shape.timeout_min),
            *([f"{row.gpu_hours:.1f}" if row.action == "submit" else ""] if has_gpus else []),
            *([row.code] if mixes else []),
            Text(row.note),
        )
    return table


def _plan_summary(plan: Plan) -> str:
    states = Counter(row.state for row in plan.rows)
    sent = len(plan.to_submit())
    parts = [f"{count} {state}" for state, count in states.items()]
    line = f"{len(plan.rows)} runs: {', '.join(parts)}; {sent} to submit"
    if plan.gpu_hours:
        line += f", asking for at most {plan.gpu_hours:,.1f} GPU-hours"
    if len(plan.codes()) > 1:
        line += f"; the study mixes {len(plan.codes())} versions of the code"
    return line


def _minutes(minutes: int) -> str:
    return f"{minutes // 60}:{minutes % 60:02d}:00"


def show_scripts(scripts: Sequence[str]) -> None:
    """Print sbatch scripts as they are, to stdout."""
    for script in scripts:
        sys.stdout.write(script.rstrip() + "\n\n")
    sys.stdout.flush()


def asker() -> Callable[[str], bool] | None:
    """Something that asks a person yes or no; None where nobody sits."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None

    def ask(question: str) -> bool:
        err.print(Text(f"{question} [y/N] "), end="")
        try:
            return sys.stdin.readline().strip().lower() in ("y", "yes")
        except KeyboardInterrupt:
            return False

    return ask


def show_statuses(
    rows: Sequence[tuple[int, RunStatus]], title: str, *, everything: bool = False
) -> None:
    """Print how runs stand; of a large study first what needs a look, and the counts."""
    shown = rows if everything else worth_showing(rows)
    show(status_table(shown), title=title)
    console = out_console()
    if len(shown) < len(rows):
        console.print(Text(f"... and {len(rows) - len(shown)} more; --all shows them"))
    console.print(Text(status_summary([status for _, status in rows])))


def worth_showing(rows: Sequence[tuple[int, RunStatus]]) -> Sequence[tuple[int, RunStatus]]:
    """The rows that fit; of more, those first that failed, are unknown, or are running."""
    if len(rows) <= STATUS_ROWS:
        return rows
    ranked = sorted(rows, key=lambda row: (_URGENCY.get(row[1].state, 3), row[0]))
    return sorted(ranked[:STATUS_ROWS], key=lambda row: row[0])


def watched(rows: Sequence[tuple[int, RunStatus]], title: str, caveat: str) -> Group:
    """What `launch status --watch` redraws."""
    parts: list[Any] = [Text(title, style="bold"), status_table(worth_showing(rows))]
    parts.append(Text(status_summary([status for _, status in rows])))
    if caveat:
        parts.append(Text(caveat, style="yellow"))
    return Group(*parts)


def status_table(rows: Sequence[tuple[int, RunStatus]], console: Console | None = None) -> Table:
    """One row per run: state, attempts, time, step, last metric, node, memory, job, reason.

    Columns in which no run has anything are left out, and some for which the console (stdout) is
    too narrow.
    """
    mixes = len({status.code for _, status in rows if status.code}) > 1
    cells: list[dict[str, str | Text]] = [
        {
            "#": str(index),
            "run": Text(status.name),
            "state": _state(status.state),
            "elapsed": _elapsed_of_limit(status),
            "tries": str(status.attempts or ""),
            "step": _step(status.progress),
            "ETA": _eta(status),
            "last": _last_metric(status.progress),
            "node": status.node,
            "memory": _memory(status),
            "job": status.job_id.rpartition("/")[2],
            "code": status.code if mixes else "",
            "reason": Text(status.reason.partition("\n")[0]),
        }
        for index, status in rows
    ]
    table = Table(box=None, pad_edge=False, header_style="dim")
    names = list(cells[0]) if cells else []
    used = [name for name in names if name in _ALWAYS or any(str(row[name]) for row in cells)]
    used = _fitting(used, cells, (console or out_console()).width)
    for name in used:
        justify: JustifyMethod = "right" if name in _RIGHT else "left"
        table.add_column(name, justify=justify, no_wrap=name not in _LONG, overflow="fold")
    for row in cells:
        table.add_row(*(_text(row[name]) for name in used))
    return table


def _fitting(names: Sequence[str], cells: Sequence[dict[str, str | Text]], width: int) -> list[str]:
    """Leave out columns until a row has room; a reason takes several lines."""
    most = {
        name: max(cell_len(t) for t in (name, *(str(c[name]) for c in cells))) for name in names
    }
    if "reason" in most:
        most["reason"] = min(most["reason"], _REASON_COLUMNS)
    kept = list(names)
    for spared in _SPARED:
        if sum(most[name] + 2 for name in kept) - 2 <= width:
            break
        kept = [name for name in kept if name != spared]
    return kept


def _text(cell: str | Text) -> Text:
    """Never markup: what users name may look like it."""
    return cell if isinstance(cell, Text) else Text(cell)


def _state(state: str) -> Text:
    symbol, style = SYMBOLS[state]
    return Text(f"{symbol} {state}", style=style)


def status_summary(statuses: Sequence[RunStatus]) -> str:
    """How many runs are in which state."""
    states = Counter(status.state for status in statuses)
    return f"{len(statuses)} runs: " + ", ".join(f"{n} {state}" for state, n in states.items())


def _elapsed_of_limit(status: RunStatus) -> str:
    if status.started is None or status.timeout_min is None:
        return ""
    return f"{elapsed(status)}/{_minutes(status.timeout_min)}"


def _memory(status: RunStatus) -> str:
    """Peak and limit of host memory on its first node [GB]."""
    if status.mem_peak_gb is None:
        return ""
    limit = f"/{status.mem_gb:g}" if status.mem_gb is not None else ""
    return f"{status.mem_peak_gb:.1f}{limit} GB"


def _eta(status: RunStatus) -> str:
    eta_s = status.progress.get("eta_s")
    if status.state != "running" or eta_s is None:
        return ""
    return _hms(eta_s)


def elapsed(status: RunStatus) -> str:
    """Time since the attempt started, or what it took."""
    if status.started is None:
        return ""
    if status.ended is None:
        return _hms(seconds_since(status.started))
    return _hms(seconds_between(status.started, status.ended))


def _hms(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def _step(progress: dict[str, Any]) -> str:
    if "step" not in progress:
        return ""
    total = progress.get("total_steps")
    steps = f"{progress['step']}/{total}" if total else str(progress["step"])
    return f"{steps} ep {progress['epoch']}" if "epoch" in progress else steps


def _last_metric(progress: dict[str, Any]) -> str:
    """One metric: of validation if there is any, because that is what a run is judged by."""
    metrics = progress.get("metrics") or {}
    names = sorted(metrics, key=lambda name: not name.startswith("val"))
    return f"{names[0]} {metrics[names[0]]:.3g}" if names else ""


def live(interactive: bool) -> AbstractContextManager[Live | None]:
    """A table redrawn in place on a terminal; None elsewhere."""
    return Live(console=err, auto_refresh=False) if interactive else nullcontext(None)


def is_interactive() -> bool:
    """Whether stderr is a terminal that can redraw."""
    return err.is_terminal and not err.is_dumb_terminal


def rows_table(rows: Iterable[dict[str, Any]]) -> Table:
    """A table of plain rows; columns in order of first appearance."""
    listed = list(rows)
    columns = list(dict.fromkeys(name for row in listed for name in row))
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in columns:
        numeric = all(isinstance(row.get(name), (int, float, type(None))) for row in listed)
        table.add_column(Text(name), justify="right" if numeric else "left")
    for row in listed:
        table.add_row(*(Text(_cell(row.get(name))) for name in columns))
    return table


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def show_run(
    run: RunStatus, sent: Sequence[dict[str, Any]], lives: Sequence[dict[str, Any]]
) -> None:
    """Print one run: where it stands, how often it was sent, and its lives."""
    console = out_console()
    console.print(Text(run.name, style="bold"), _state(run.state))
    rows = {"key": run.key, "folder": run.run_dir, "reason": run.reason, "job": run.job_id}
    for name, value in rows.items():
        if value:
            console.print(Text(f"{name:>8}  {value}"))
    show(_columns(sent, "number", "submitted", "scheduler", "code", "commit"), "submissions")
    show(
        _columns(lives, "attempt", "job_id", "host", "started", "ended", "outcome", "error"),
        "attempts",
    )


def show_diagnosis(diagnosis: Diagnosis) -> None:
    """Print why a run is where it is, life by life."""
    console = out_console()
    console.print(Text(diagnosis.name, style="bold"), Text(diagnosis.stands))
    for life in diagnosis.lives:
        console.print()
        console.print(Text(life.title, style="bold"))
        rows = {
            "what happened": [life.happened],
            "how we know": life.known_by,
            "what was done": life.done,
            "what to do": [life.todo],
        }
        for name, texts in rows.items():
            lines = [line for text in texts for line in textwrap.wrap(text, DIAGNOSIS_COLUMNS)]
            for number, line in enumerate(lines):
                label = name if number == 0 else ""
                console.print(Text.assemble((f"  {label:<15}", "dim"), line))


def _columns(rows: Sequence[dict[str, Any]], *names: str) -> Table:
    return rows_table([{name: row[name] for name in names} for row in rows])


def show_text(title: str, text: str) -> None:
    """Print text as it is under a title."""
    console = out_console()
    console.print(Text(title, style="bold"))
    console.print(Text(text.rstrip()))


def show(table: Table, title: str = "") -> None:
    """Print a table to stdout, as wide as it needs to be where stdout is not a terminal."""
    console = out_console()
    if title:
        console.print(Text(title, style="bold"))
    console.print(table)


def out_console() -> Console:
    """Where data goes: as wide as it needs to be where stdout is not a terminal."""
    return out if sys.stdout.isatty() else Console(width=240, highlight=False)
