"""What `launch scaling` prints: a table for each group, and what limits each attempt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table
from rich.text import Text

from launcher import ui
from launcher.scaling.report import Report, Row
from launcher.ui.probes import number, share

_LEFT = ("run", "attempt")


def show(report: Report) -> None:
    """Print the tables; a group with one number of ranks has nothing to be compared with."""
    for group in report.groups():
        rows = [row for row in report.rows if row.group == group]
        ui.show(_table(rows), title=group)
        console = ui.out_console()
        for text in _remarks(rows, report.curve(group)):
            console.print(Text(text))
        console.print()


def _table(rows: Sequence[Row]) -> Table:
    cells = [_cells(row) for row in rows]
    names = [name for name in cells[0] if any(row[name] for row in cells)]
    for name in ("attempt", "batch"):
        if name in names and len({row[name] for row in cells}) == 1:
            names.remove(name)
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1, 0, 0))
    for name in names:
        is_left = name in _LEFT
        table.add_column(
            name.replace(" ", "\n", 1),
            justify="left" if is_left else "right",
            overflow="fold",
            no_wrap=name != "run",
            min_width=8 if name == "run" else None,
            vertical="bottom",
        )
    for row in cells:
        table.add_row(*(Text(row[name]) for name in names))
    return table


def _cells(row: Row) -> dict[str, str]:
    return {
        "GPUs" if row.has_gpus else "ranks": str(row.ranks),
        "nodes": str(row.nodes),
        "run": row.name,
        "attempt": row.attempt,
        "batch": str(row.batch_size or ""),
        "per rank": str(row.micro_batch_size or ""),
        "workers": "" if row.workers is None else str(row.workers),
        "samples /s": number(row.samples_per_s),
        "step s": number(row.step_s),
        "data wait": share(row.data_wait_share),
        "GPU busy": share(row.gpu_utilization),
        "host GB": number(row.host_gb),
        "GPU GB": number(row.gpu_gb),
        "speed -up": "" if row.speed_up is None else f"{row.speed_up:.2f}x",
        "effi- ciency": share(row.efficiency),
    }


def _remarks(rows: Sequence[Row], curve: Sequence[Row]) -> list[str]:
    said = [_remark(row) for row in rows if row.why]
    if not curve:
        return [*said, "nothing was timed: `launch probe` measures it in minutes"]
    what = "GPU" if curve[0].has_gpus else "rank"
    fewest = f"{curve[0].ranks} {what}{'s' * (curve[0].ranks > 1)}"
    if len(curve) == 1:
        said.append(
            f"measured on {fewest} only: nothing to compare with; --remembered adds attempts of"
            " other studies that train the same"
        )
    elif curve[0].ranks > 1:
        said.append(f"speed-up counts from {fewest}, the fewest measured")
    if len({row.batch_size for row in rows}) > 1:
        said.append("the effective batch differs: samples per second are compared, not steps")
    return said


def _remark(row: Row) -> str:
    what = "GPU" if row.has_gpus else "rank"
    limit = f"limited by {row.limit}: " if row.limit not in (None, "memory") else ""
    return f"{row.ranks} {what}{'s' * (row.ranks > 1)} ({row.name}): {limit}{row.why}"


def plain_rows(report: Report) -> list[dict[str, Any]]:
    """Rows as plain values, for JSON and CSV."""
    return [asdict(row) for row in report.rows]
