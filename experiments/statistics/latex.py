"""Arms by metrics as a LaTeX table (booktabs), with bold where nothing is shown to be better."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from experiments.statistics.aligning import AlignedScores
from experiments.statistics.comparing import compare, holm
from experiments.statistics.measures import measure
from experiments.statistics.resampling import Bootstrap
from experiments.statistics.summaries import Summary, summarise
from experiments.statistics.table import Cell

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\char34{}",  # babel makes the letter itself a command
    "\n": " ",
    "\r": " ",
}
_TABLE = r"""% needs \usepackage{{booktabs}}
\begin{{tabular}}{{l{columns}}}
\toprule
{head} \\
\midrule
{body}
\bottomrule
\end{{tabular}}
% {note}
"""


def escape(text: str) -> str:
    """`text` as LaTeX shows it letter by letter."""
    return "".join(_ESCAPES.get(letter, letter) for letter in text)


def latex_table(
    scores: AlignedScores,
    cells: Sequence[Cell],
    metrics: Sequence[str],
    *,
    bootstrap: Bootstrap | None = None,
) -> str:
    """One row per cell, one column per metric: mean, and the seeds' standard deviation.

    Bold are the best mean of a column and all that it cannot be told apart from, after Holm over
    the comparisons with the best of that column.

    Raises:
        DataError: there are no such runs or metrics, or all tokens are of one log.
        ConfigError: nothing says which way of a metric is better.
    """
    bootstrap = bootstrap or Bootstrap()
    summaries = {
        (cell, metric): summarise(scores, cell, metric, bootstrap)
        for cell in cells
        for metric in metrics
    }
    bold = {metric: not_beaten(scores, cells, metric, bootstrap) for metric in metrics}
    several = len({cell.fraction for cell in cells if cell.learns}) > 1
    rows = []
    for cell in cells:
        name = f"{cell.arm} ({cell.share})" if several and cell.share else cell.arm
        shown = [_entry(summaries[cell, metric], cell in bold[metric]) for metric in metrics]
        rows.append(" & ".join([escape(name), *shown]) + r" \\")
    return _TABLE.format(
        columns="r" * len(metrics),
        head=" & ".join(["", *map(_heading, metrics)]),
        body="\n".join(rows),
        note=_note(scores, summaries, bootstrap),
    )


def not_beaten(
    scores: AlignedScores, cells: Sequence[Cell], metric: str, bootstrap: Bootstrap
) -> frozenset[Cell]:
    """Cells whose mean is the best or cannot be told apart from it."""
    direction = measure(metric).direction
    means = {cell: direction * scores.of(cell, metric).mean() for cell in cells}
    best = max(means, key=lambda cell: means[cell])
    others = [cell for cell in cells if cell != best]
    p = holm([compare(scores, best, cell, metric, bootstrap=bootstrap).p for cell in others])
    level = 1 - bootstrap.confidence
    return frozenset(
        [best, *(cell for cell, value in zip(others, p, strict=True) if value >= level)]
    )


def _entry(summary: Summary, is_bold: bool) -> str:
    shown = measure(summary.metric)
    mean = shown.text(summary.mean)
    inner = rf"\mathbf{{{mean}}}" if is_bold else mean
    spread = "" if summary.std is None else rf" \pm {shown.text(summary.std)}"
    return f"${inner}{spread}$"


def _heading(metric: str) -> str:
    shown = measure(metric)
    arrow = r"$\uparrow$" if shown.higher_is_better else r"$\downarrow$"
    unit = "" if shown.unit == "points" else f" [{shown.unit}]"
    return f"{escape(shown.label + unit)} {arrow}"


def _spread(summaries: Iterable[Summary]) -> str:
    """What stands before and after a +-, and over how many seeds; no more than the table shows."""
    numbers = sorted({len(one.seeds) for one in summaries if one.cell.learns})
    spread = [number for number in numbers if number > 1]
    if not spread:
        return "mean of 1 seed" if numbers else "mean"
    alone = "; without +- 1 seed" if 1 in numbers else ""
    return f"mean +- sample standard deviation over {' or '.join(map(str, spread))} seeds{alone}"


def _note(
    scores: AlignedScores, summaries: Mapping[tuple[Cell, str], Summary], bootstrap: Bootstrap
) -> str:
    found = next(iter(summaries.values()))
    parts = [
        f"{_spread(summaries.values())}, {found.num_tokens} tokens of {found.num_logs} logs",
        f"bold: not distinguishable from the best (paired bootstrap clustered by log, Holm,"
        f" {100 * (1 - bootstrap.confidence):g} %)",
        f"scorer {scores.scorer}, metric version {scores.metric_version}",
        *([scores.note] if scores.note else []),
    ]
    return escape("; ".join(parts))
