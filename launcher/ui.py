"""Every table and message on the terminal. Data goes to stdout, everything else to stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from launcher.records import RunState
from launcher.states import RunStatus
from launcher.store import seconds_since

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

SYMBOLS: dict[RunState, tuple[str, str]] = {
    "new": ("·", "dim"),
    "waiting": ("◌", "dim"),
    "pending": ("○", "dim"),
    "running": ("▶", "cyan"),
    "completed": ("✓", "green"),
    "failed": ("✗", "red"),
    "unknown": ("?", "yellow"),
}


def say(message: str) -> None:
    """One plain line."""
    err.print(Text(message))


def status_table(statuses: Sequence[RunStatus]) -> Table:
    """One row per run: state, job, time, step, last metric."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("#", "run", "state", "job", "elapsed", "step", "last"):
        table.add_column(column, justify="right" if column in ("#", "elapsed") else "left")
    for index, status in enumerate(statuses):
        symbol, style = SYMBOLS[status.state]
        table.add_row(
            str(index),
            status.name,
            Text(f"{symbol} {status.state}", style=style),
            status.job_id.rpartition("/")[2],
            elapsed(status),
            _step(status.progress),
            status.reason if status.state != "running" else _last_metric(status.progress),
        )
    return table


def elapsed(status: RunStatus) -> str:
    """Time since the attempt started, or what it took."""
    if status.started is None:
        return ""
    seconds = seconds_since(status.started)
    if status.ended is not None:
        seconds -= seconds_since(status.ended)
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def _step(progress: dict[str, Any]) -> str:
    if "step" not in progress:
        return ""
    total = progress.get("total_steps")
    return f"{progress['step']}/{total}" if total else str(progress["step"])


def _last_metric(progress: dict[str, Any]) -> str:
    metrics = progress.get("metrics") or {}
    return "  ".join(f"{name} {value:.3g}" for name, value in list(metrics.items())[:2])


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
        table.add_column(name, justify="right" if numeric else "left")
    for row in listed:
        table.add_row(*(_cell(row.get(name)) for name in columns))
    return table


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def show(table: Table, title: str = "") -> None:
    """Print a table to stdout, as wide as it needs to be where stdout is not a terminal."""
    console = out if sys.stdout.isatty() else Console(width=200, highlight=False)
    if title:
        console.print(Text(title, style="bold"))
    console.print(table)
