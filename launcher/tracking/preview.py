"""A picture of a study's workspace, drawn here from its panels and from what is on disk.

W&B draws its own; this shows what it will show, where there is no network, and in the docs.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from launcher.files import write_bytes
from launcher.studies import Study
from launcher.tracking import card as cards
from launcher.tracking import dashboard, journal
from launcher.tracking.showing import Shown
from launcher.trees import leaves

COLUMNS = 4
ROW_IN = 2.4
"""Height of a row of panels [inches]."""
MOST_PANELS = 2 * COLUMNS
"""Panels of a section that are drawn; W&B pages through the others."""


@dataclass(frozen=True)
class _Run:
    arm: str
    config: Mapping[str, Any]
    result: Mapping[str, Any]
    curves: Mapping[str, dict[int, float]]
    """Name -> step -> value."""


def draw(study: Study, shown: Shown, path: Path) -> None:
    """Draw all sections below each other into a PNG."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    sections = {n: listed[:MOST_PANELS] for n, listed in dashboard.panels(shown).items()}
    rows = sum(-(-len(listed) // COLUMNS) for listed in sections.values())
    figure = Figure(figsize=(4.0 * COLUMNS, ROW_IN * rows + 1.0))
    top = 1.0 - 1.2 / (ROW_IN * rows + 1.0)
    grid = figure.add_gridspec(
        rows, COLUMNS, left=0.04, right=0.99, bottom=0.02, top=top, hspace=0.6, wspace=0.2
    )
    runs, row = _runs(study), 0
    for name, listed in sections.items():
        for number, panel in enumerate(listed):
            axes = figure.add_subplot(grid[row + number // COLUMNS, number % COLUMNS])
            _panel(axes, panel, runs)
            if not number:
                axes.text(-0.1, 1.2, name, transform=axes.transAxes, weight="bold")
        row += -(-len(listed) // COLUMNS)
    keys = [Patch(color=f"C{number}", label=arm) for number, arm in enumerate(_by_arm(runs))]
    figure.legend(handles=keys, loc="upper left", ncols=COLUMNS, fontsize=9, title="arms")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=60)
    write_bytes(path, content.getvalue())


def _runs(study: Study) -> list[_Run]:
    results = {result.key: result.metrics for result in study.results()}
    found = []
    for run in study.record.runs:
        card = cards.read(run.run_dir)
        if card is None or run.key not in results:
            continue
        curves: dict[str, dict[int, float]] = {}
        for row in journal.read(cards.path_of(run.run_dir).parent / journal.NAME):
            for name, value in row.values.items():
                curves.setdefault(name, {})[row.step] = value
        config = dict(leaves(card.config))
        found.append(_Run(card.config["study"]["arm"], config, results[run.key], curves))
    return found


def _panel(axes: Any, panel: Any, runs: list[_Run]) -> None:
    kind = type(panel).__name__
    axes.set_title(getattr(panel, "title", None) or kind, fontsize=8)
    axes.tick_params(labelsize=7)
    draws = {"LinePlot": _curve, "BarPlot": _bars, "ScatterPlot": _points}
    is_drawn = kind in draws and draws[kind](axes, panel, runs)
    if not is_drawn:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "drawn by W&B", ha="center", va="center", fontsize=8, color="grey")


def _by_arm(runs: list[_Run]) -> dict[str, list[_Run]]:
    found: dict[str, list[_Run]] = {}
    for run in runs:
        found.setdefault(run.arm, []).append(run)
    return found


def _curve(axes: Any, panel: Any, runs: list[_Run]) -> bool:
    """Mean over the seeds of an arm, and their range."""
    name = str(panel.y[0])
    drawn = False
    for number, members in enumerate(_by_arm(runs).values()):
        curves = [run.curves[name] for run in members if name in run.curves]
        steps = sorted(set.intersection(*(set(curve) for curve in curves))) if curves else []
        values = [[curve[step] for curve in curves] for step in steps]
        if not values:
            continue
        color = f"C{number}"
        axes.plot(steps, [mean(at) for at in values], color=color, marker=".", markersize=3)
        low, high = [min(at) for at in values], [max(at) for at in values]
        axes.fill_between(steps, low, high, color=color, alpha=0.2)
        drawn = True
    return drawn


def _bars(axes: Any, panel: Any, runs: list[_Run]) -> bool:
    """Mean over the seeds of an arm, and its standard error."""
    name = panel.metrics[0].name.removeprefix("result/")
    drawn = False
    for number, members in enumerate(_by_arm(runs).values()):
        values = [float(run.result[name]) for run in members if name in run.result]
        if values:
            error = stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
            axes.barh(number, mean(values), xerr=error, height=0.6, color=f"C{number}")
            drawn = True
    axes.set_yticks([])
    return drawn


def _points(axes: Any, panel: Any, runs: list[_Run]) -> bool:
    x, y = panel.x.name, panel.y.name.removeprefix("result/")
    drawn = False
    for number, members in enumerate(_by_arm(runs).values()):
        for run in members:
            if x in run.config and y in run.result:
                axes.scatter(run.config[x], run.result[y], s=12, color=f"C{number}")
                drawn = True
    if panel.log_x:
        axes.set_xscale("log")
    return drawn
