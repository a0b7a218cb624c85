"""What the attempts of a run took, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from rich.text import Text

from launcher import ui
from launcher.measures import Measure
from launcher.records import Phase

LEGEND = (
    "GB: most host memory of a node in that phase, without file pages; ~ where no cgroup tells it,"
    " and ranks and workers are added up"
)


def show_use(measures: Sequence[Measure]) -> None:
    """Print a row per attempt; nothing where none was measured."""
    rows = use_rows(measures)
    if not rows:
        return
    ui.show(ui.rows_table(rows), "use")
    ui.out_console().print(Text(LEGEND, style="dim"))


def use_rows(measures: Sequence[Measure]) -> list[dict[str, Any]]:
    """Speed and memory of each attempt; columns that nobody has are left out."""
    rows = [_row(measure) for measure in measures]
    used = {name for row in rows for name, value in row.items() if value not in (None, "")}
    return [{name: value for name, value in row.items() if name in used} for row in rows]


def _row(measure: Measure) -> dict[str, Any]:
    place = measure.place
    return {
        "attempt": measure.attempt,
        "kind": "probe" if measure.is_probe else "",
        "ranks": f"{measure.num_nodes} x {measure.ranks_per_node}",
        "on": place.partition or measure.gpu_type or "",
        "start s": _figure(measure.start_s, 1),
        "steps/s": _figure(1 / measure.step_s if measure.step_s else None, 2),
        "samples/s": _figure(measure.samples_per_s, 1),
        "data wait": _percent(measure.data_wait_share),
        "GPU busy": _percent(measure.gpu_utilization),
        "GPU W": _figure(measure.gpu_power_w, 0),
        "validation s": _figure(measure.validation_s, 1),
        "checkpoint s": _figure(measure.checkpoint_s, 2),
        "GPU GB": _figure(measure.gpu_gb(), 2),
        **{f"{phase} GB": _memory(measure, phase) for phase in get_args(Phase)},
    }


def _memory(measure: Measure, phase: Phase) -> str:
    node_gb = measure.node_gb(phase)
    if node_gb is not None:
        return f"{node_gb:.2f}"
    processes_gb = measure.processes_gb(phase)
    return "" if processes_gb is None else f"~{processes_gb:.2f}"


def _figure(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"
