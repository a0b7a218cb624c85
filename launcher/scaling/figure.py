"""The figure of a scaling report, as bytes. Imports matplotlib, which needs no display here."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from launcher.errors import LauncherError
from launcher.scaling.report import Report, Row

SUFFIXES = ("png", "svg", "pdf")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe-Ito: told apart by colour-blind readers too."""
MARKERS = ("o", "s", "^", "D", "v", "P")


def draw(report: Report, suffix: str) -> bytes:
    """Speed-up over GPUs beside the share of a step that goes into waiting for data.

    Args:
        report: Attempts; of each group and number of GPUs the fastest is drawn.
        suffix: `png`, `svg` or `pdf`.

    Raises:
        LauncherError: nothing was timed.
    """
    curves = {group: curve for group in report.groups() if (curve := report.curve(group))}
    if not curves:
        raise LauncherError(
            "nothing was timed, so there is nothing to draw", hint="`launch probe` measures"
        )
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    with plt.rc_context({"svg.hashsalt": "fixed", "font.size": 9}):
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(7.2, 3.2), dpi=200, layout="constrained", width_ratios=(1.35, 1)
        )
        ranks = sorted({row.ranks for curve in curves.values() for row in curve})
        _draw_speed_up(left, curves, ranks)
        _draw_wait(right, curves)
        _draw_slower(left, right, report, curves)
        what = "GPUs" if any(row.has_gpus for c in curves.values() for row in c) else "ranks"
        for axes in (left, right):
            _dress(axes, ranks, what)
        content = io.BytesIO()
        figure.savefig(content, format=suffix, metadata={"Date": None} if suffix == "svg" else None)
        plt.close(figure)
    return content.getvalue()


def _draw_speed_up(axes: Any, curves: dict[str, list[Row]], ranks: Sequence[int]) -> None:
    first = min(curve[0].ranks for curve in curves.values())
    axes.plot(ranks, [n / first for n in ranks], color="0.45", linestyle="--", linewidth=1)
    _note(axes, "ideal", ranks[-1], ranks[-1] / first, "0.35")
    for index, (group, curve) in enumerate(curves.items()):
        xs = [row.ranks for row in curve]
        ys = [(row.speed_up or 1.0) * curve[0].ranks / first for row in curve]
        _line(axes, index, xs, ys, group)
        _note_end(axes, index, curve[-1], ys[-1])
    axes.set_xlim(ranks[0] / 1.3, ranks[-1] * 2.6)  # room for the notes
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}x")
    axes.set_ylabel("speed-up in samples per second")
    axes.set_title("Speed-up", fontsize=9, loc="left")
    axes.legend(frameon=False, fontsize=7, loc="upper left")


def _note_end(axes: Any, index: int, row: Row, speed_up: float) -> None:
    if row.efficiency is not None and row.ranks != row.base_ranks:
        text = f"{speed_up:.1f}x, {row.efficiency:.0%}"
        _note(axes, text, row.ranks, speed_up, COLOURS[index % len(COLOURS)])


def _note(axes: Any, text: str, x: float, y: float, colour: str) -> None:
    axes.annotate(
        text, (x, y), xytext=(6, 0), textcoords="offset points", va="center", color=colour,
        fontsize=8,
    )  # fmt: skip


def _draw_slower(left: Any, right: Any, report: Report, curves: dict[str, list[Row]]) -> None:
    """Attempts that a faster one on as many ranks outdid, hollow: a starved loader for instance."""
    first = min(curve[0].ranks for curve in curves.values())
    for index, (group, curve) in enumerate(curves.items()):
        slower = [row for row in report.rows if row.group == group and row not in curve]
        style = {
            "color": COLOURS[index % len(COLOURS)],
            "marker": MARKERS[index % len(MARKERS)],
            "markerfacecolor": "white",
            "markersize": 4,
            "linestyle": "",
        }
        for row in slower:
            if row.speed_up is not None:
                speed_up = row.speed_up * curve[0].ranks / first
                left.plot([row.ranks], [speed_up], **style)
                _note_end(left, index, row, speed_up)
            if row.data_wait_share is not None:
                right.plot([row.ranks], [100 * row.data_wait_share], **style)


def _draw_wait(axes: Any, curves: dict[str, list[Row]]) -> None:
    for index, (group, curve) in enumerate(curves.items()):
        known = [(row.ranks, row.data_wait_share) for row in curve]
        points = [(n, 100 * wait) for n, wait in known if wait is not None]
        _line(axes, index, [n for n, _ in points], [wait for _, wait in points], group)
    axes.set_ylim(0, 100)
    axes.set_ylabel("waiting for data [% of a step]")
    axes.set_title("Data wait", fontsize=9, loc="left")


def _line(axes: Any, index: int, xs: list[int], ys: list[float], label: str) -> None:
    axes.plot(
        xs,
        ys,
        color=COLOURS[index % len(COLOURS)],
        marker=MARKERS[index % len(MARKERS)],
        linewidth=1.4,
        markersize=4,
        label=label,
    )


def _dress(axes: Any, ranks: Sequence[int], what: str) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(ranks, [str(n) for n in ranks])
    axes.minorticks_off()
    axes.set_xlabel(what)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
