"""What a node holds in each phase: the budget by purpose beside the peaks that were measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from experiments.data.errors import DataError
from experiments.figures.style import (
    COLOURS,
    COLUMN_IN,
    GREY,
    LINES,
    columns_that_fit,
    content,
    page,
    tidy,
)
from launcher.estimates.budget import Budget
from launcher.footprint import host_gb
from launcher.measures import Measure
from launcher.records import Phase

_NAMES: dict[Phase, str] = {
    "start": "start",
    "train": "train",
    "switch": "switch",
    "validate": "validate",
    "checkpoint": "save",
    "other": "other",
}
_BAR_IN = 0.24
_SHADES = (COLOURS[0], COLOURS[5], COLOURS[2], COLOURS[4], COLOURS[3])
"""Of purposes in their order; neighbours are told apart in grey too."""
_REST, _REST_SHADE, _MARGIN_SHADE = "other parts", "0.5", "0.85"
_LEAST = 0.01
"""Of the highest peak: smaller parts could not be seen, and are drawn as one."""
_MARGIN_LABEL = "margin"
_MEASURED = "measured"


def memory_budgets(
    budgets: Sequence[Budget],
    measured: Sequence[Measure],
    suffix: str,
    *,
    limit_gb: float | None = None,
    title: str = "",
) -> bytes:
    """Draw a stacked bar for each phase and a diamond for each attempt that was in it.

    A peak right of the coloured part was not foreseen; right of the pale part it is beyond the
    margin, too.

    Args:
        budgets: One per phase; `MemoryModel.budgets` makes them.
        measured: Attempts in the same shape; of each the fullest node is shown.
        suffix: `png`, `svg` or `pdf`.
        limit_gb: What the job may hold on a node, as a line.
        title: Above the figure.

    Raises:
        DataError: there are no budgets, or two of one phase.
        ConfigError: `suffix` is not known.
    """
    by_phase = {budget.phase: budget for budget in budgets}
    if not budgets or len(by_phase) != len(budgets):
        raise DataError(f"{len(budgets)} budgets are of {len(by_phase)} phases, wanted one of each")
    phases: list[Phase] = [phase for phase in get_args(Phase) if phase in by_phase]
    least_gb = _LEAST * max(budget.peak_gb for budget in budgets)
    stacks = {phase: _stack(by_phase[phase], least_gb) for phase in phases}
    colours = _colours(stacks.values())
    entries = [*colours, _MARGIN_LABEL, _MEASURED]
    columns = columns_that_fit(entries, COLUMN_IN)
    height = 0.75 + _BAR_IN * len(phases) + 0.14 * -(-len(entries) // columns)
    with page(COLUMN_IN, height) as figure:
        axes = figure.add_subplot()
        for row, phase in enumerate(phases):
            _draw_bar(axes, row, stacks[phase], by_phase[phase].margin_gb, colours)
            peaks = [gb for one in measured if (gb := host_gb(one, phase)) is not None]
            axes.plot(peaks, [row] * len(peaks), linestyle="", marker="D", markersize=3.4,
                      markerfacecolor="white", markeredgecolor="black", zorder=4)  # fmt: skip
        if limit_gb is not None:
            _draw_limit(axes, limit_gb)
        axes.set_yticks(range(len(phases)), [_NAMES[phase] for phase in phases])
        axes.invert_yaxis()
        axes.set_xlim(left=0)
        axes.set_xlabel("memory of a node [GB]")
        axes.set_title(title, loc="left")
        tidy(axes, grid="x")
        axes.tick_params(axis="y", length=0)
        handles = _handles(colours)
        figure.legend(handles=handles, loc="outside lower center", ncols=columns)
        return content(figure, suffix)


def _stack(budget: Budget, least_gb: float) -> dict[str, float]:
    """Purposes and what they take [GB]; those below `least_gb` as one, at the end."""
    large = {row.what: row.gb for row in budget.rows if row.gb >= least_gb}
    rest_gb = budget.peak_gb - sum(large.values())
    return {**large, _REST: rest_gb} if rest_gb > 0 else large


def _colours(stacks: Iterable[Mapping[str, float]]) -> dict[str, str]:
    """The colour of each purpose, in the order in which they come, the rest last."""
    found = dict.fromkeys(name for stack in stacks for name in stack)
    names = [name for name in found if name != _REST]
    colours = {name: _SHADES[index % len(_SHADES)] for index, name in enumerate(names)}
    return {**colours, _REST: _REST_SHADE} if _REST in found else colours


def _draw_bar(
    axes: Any, row: int, stack: Mapping[str, float], margin_gb: float, colours: Mapping[str, str]
) -> None:
    left = 0.0
    for name, gb in stack.items():
        axes.barh(row, gb, left=left, height=0.66, color=colours[name], zorder=2)
        left += gb
    axes.barh(row, margin_gb, left=left, height=0.66, color=_MARGIN_SHADE, zorder=2)


def _draw_limit(axes: Any, limit_gb: float) -> None:
    axes.axvline(limit_gb, color=GREY, linestyle=LINES[1], linewidth=0.9, zorder=1)
    axes.annotate("limit", (limit_gb, 1.0), xycoords=("data", "axes fraction"), xytext=(-2, 2),
                  textcoords="offset points", ha="right", color="0.35", fontsize=6)  # fmt: skip


def _handles(colours: Mapping[str, str]) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    parts = [Patch(color=colour, label=name) for name, colour in colours.items()]
    peak = Line2D([], [], linestyle="", marker="D", markersize=3.4, markerfacecolor="white",
                  markeredgecolor="black", label=_MEASURED)  # fmt: skip
    return [*parts, Patch(color=_MARGIN_SHADE, label=_MARGIN_LABEL), peak]
