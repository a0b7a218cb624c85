"""The table of `launch plan`: where runs could go, when they would be done, at what cost."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from launcher import ui
from launcher.planning.candidates import Candidate
from launcher.planning.options import Option, span

if TYPE_CHECKING:
    from launcher.planning.comparing import Comparison

_SOON_S = 5.0
_WIDE = 132
"""From this width on memory and verdicts stand in the table, else below it."""
_RIGHT = {"#", "starts", "epoch", "total", "finish", "GPU-h", "memory"}
_ALWAYS = {"#", "partition", "shape", "starts"}
_NAMES = 6


def show(comparison: Comparison) -> None:
    """Print the options of runs that ask the same, and what the figures rest on."""
    console = ui.out_console()
    console.print(Text(_title(comparison), style="bold"))
    bases = _bases(comparison.options)
    is_wide = console.width >= _WIDE
    rows = [
        _cells(number, option, bases, is_wide=is_wide)
        for number, option in enumerate(comparison.options)
    ]
    console.print(_table(rows, comparison.options))
    if not is_wide:
        for number, option in enumerate(comparison.options):
            if line := _below(option):
                console.print(Text(f"  {number}: {line}", style=_style(option)))
    for line in _notes(comparison, bases):
        console.print(Text(line, style="dim"))


def _title(comparison: Comparison) -> str:
    runs = comparison.runs
    names = ", ".join(runs[:_NAMES]) + " ..." * bool(runs[_NAMES:])
    objective = {"finish": "earliest finish", "gpu_hours": "fewest GPU-hours"}
    return f"{len(runs)} {_noun(len(runs))}: {names}; wanted: {objective[comparison.objective]}"


def _noun(count: int) -> str:
    return "run" if count == 1 else "runs"


def _table(rows: Sequence[dict[str, str]], options: Sequence[Option]) -> Table:
    """Columns in which no option has anything are left out."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    used = [
        name
        for name in (rows[0] if rows else {})
        if name in _ALWAYS or any(row[name] not in ("", "?") for row in rows)
    ]
    for name in used:
        table.add_column(
            name,
            justify="right" if name in _RIGHT else "left",
            no_wrap=name != "verdict",
            overflow="fold",
        )
    for row, option in zip(rows, options, strict=True):
        table.add_row(*(Text(row[name]) for name in used), style=_style(option))
    return table


def _style(option: Option) -> str:
    if option.is_chosen:
        return "bold green"
    return "dim" if option.problem else ""


def _cells(number: int, option: Option, bases: dict[str, str], *, is_wide: bool) -> dict[str, str]:
    seconds = option.duration.epoch_s if option.duration is not None else None
    letter = f" {bases[option.pace.basis]}" if option.pace is not None else ""
    is_open = not option.problem
    cells = {
        "#": f"{'▶ ' if option.is_chosen else ''}{number}",
        "partition": option.partition or "default",
        "shape": shape_text(option.candidate),
        "starts": when(option.wait_s) if is_open else "",
        "samples/s": f"{option.pace.samples_per_s:.3g}{letter}" if option.pace else "",
        "epoch": _span(seconds) if is_open else "",
        "total": _span(option.total_s) if is_open else "",
        "finish": _span(option.finish_s) if is_open else "",
        "GPU-h": f"{option.gpu_hours:,.1f}" if option.gpu_hours and is_open else "",
    }
    return {**cells, "memory": _memory(option), "verdict": option.verdict} if is_wide else cells


def _below(option: Option) -> str:
    """What a narrow table has no room for."""
    memory = _memory(option)
    return "; ".join(filter(None, [option.verdict, memory and f"memory {memory}"]))


def _span(seconds: float | None) -> str:
    return "?" if seconds is None else span(seconds)


def when(wait_s: float | None) -> str:
    """A start from now on."""
    if wait_s is None:
        return "?"
    return "now" if wait_s <= _SOON_S else f"in {span(wait_s)}"


def place(option: Option) -> str:
    """Partition and shape in a line of text."""
    return f"{option.partition or 'default partition'} with {shape_text(option.candidate)}"


def shape_text(candidate: Candidate) -> str:
    """Nodes and GPUs of each, by their type."""
    kind = candidate.settings.cluster.gpu_type or "GPU"
    shape = candidate.shape
    if shape is None:
        return f"{candidate.gpus} {kind}" if candidate.gpus else "CPU"
    if not shape.gpus_per_node:
        return f"{shape.nodes} x {shape.cpus} CPU"
    return f"{shape.nodes} x {shape.gpus_per_node} {kind}"


def _memory(option: Option) -> str:
    """Predicted peak and limit of a node."""
    found = option.memory
    limit = "" if found.limit_gb is None else f"/{found.limit_gb:g}"
    if found.peak_gb is None:
        return f"?{limit} GB" if limit else ""
    return f"{found.peak_gb:.3g}{limit} GB"


def _bases(options: Sequence[Option]) -> dict[str, str]:
    """A letter for each way in which a speed is known."""
    found = dict.fromkeys(option.pace.basis for option in options if option.pace is not None)
    return {basis: chr(ord("a") + number) for number, basis in enumerate(found)}


def _notes(comparison: Comparison, bases: dict[str, str]) -> list[str]:
    lines = [f"  {letter}: {basis}" for basis, letter in bases.items()]
    if len(comparison.runs) > 1:
        lines.append("each figure is of one run; of an array the first run starts then")
    if not comparison.has_measures:
        lines.append(
            "nothing of this kind was measured yet: `launch probe` with the same overrides does"
            " it in a few minutes"
        )
    elif comparison.work is None or comparison.work.steps is None:
        lines.append(
            "how many steps are left is unknown; hydra.launcher.config_keys says where the"
            " config has the batch and the steps"
        )
    if any(option.lives > 1 and not option.problem for option in comparison.options):
        lines.append(
            "a run that takes several jobs goes on where the last one stopped; it is taken to"
            " wait as long before each"
        )
    if any(option.start.at_s is not None for option in comparison.options):
        lines.append("starts are SLURM's own estimate; jobs that end before their limit help")
    return lines


@dataclass(frozen=True)
class _Row:
    """An option as plain values."""

    option: Option

    def values(self) -> dict[str, Any]:
        option, shape = self.option, self.option.shape
        cluster = option.candidate.settings.cluster
        pace, duration, memory = option.pace, option.duration, option.memory
        return {
            "partition": option.partition,
            "gpu_type": cluster.gpu_type if option.gpus else None,
            "gpus": option.gpus,
            "nodes": shape.nodes if shape else None,
            "gpus_per_node": shape.gpus_per_node if shape else None,
            "cpus_per_rank": shape.cpus_per_rank if shape else None,
            "micro_batch_size": option.candidate.micro_batch_size,
            "timeout_min": shape.timeout_min if shape else None,
            "start": _moment(option.start.at_s),
            "start_unknown": option.start.reason,
            "wait_s": option.wait_s,
            "samples_per_s": pace.samples_per_s if pace else None,
            "basis": pace.basis if pace else None,
            "epoch_s": duration.epoch_s if duration else None,
            "total_s": option.total_s,
            "finish_s": option.finish_s,
            "jobs": option.lives if duration else None,
            "gpu_hours": option.gpu_hours,
            "memory_peak_gb": memory.peak_gb,
            "memory_limit_gb": memory.limit_gb,
            "memory_headroom_gb": memory.headroom_gb,
            "memory_fits": memory.fits,
            "gpu_memory_peak_gb": option.gpu_memory.peak_gb,
            "gpu_memory_limit_gb": option.gpu_memory.limit_gb,
            "problem": option.problem,
            "verdict": option.verdict,
            "is_chosen": option.is_chosen,
        }


def _moment(at_s: float | None) -> str | None:
    return None if at_s is None else datetime.fromtimestamp(at_s).astimezone().isoformat()


def print_json(comparisons: Iterable[Comparison]) -> None:
    """Data goes to stdout."""
    values = [
        {
            "runs": list(comparison.runs),
            "objective": comparison.objective,
            "options": [_Row(option).values() for option in comparison.options],
        }
        for comparison in comparisons
    ]
    sys.stdout.write(json.dumps(values, indent=2) + "\n")
    sys.stdout.flush()
