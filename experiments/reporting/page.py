"""The page of a report: numbers as text, figures inside it, nothing fetched from anywhere."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.reporting.analysis import Analysis, Groups
from experiments.reporting.drawings import Drawing
from experiments.reporting.facts import Facts
from experiments.reporting.points import points_svg, scale_of
from experiments.reporting.scores import StudyScores
from experiments.statistics import Comparison, Summary, measure, sentence
from experiments.statistics.sentences import p_text

PAGE_METRICS = ("pdms", "ade_m")
"""Scores in the table of runs."""
_BESIDE = ("pdms", "nc", "dac", "ep", "ttc", "comfort", "ade_m")
_FEW_SENTENCES = 6
_MIME = {"svg": "image/svg+xml", "png": "image/png"}
_OURS = ", reference "
"""In the name of a scorer whose reference plans are ours; it names them behind that."""
NOT_NAVSIM = (
    "The reference plans that progress is measured against are our own, so these PDM scores are"
    " not NAVSIM's scores and are not to be compared with published ones."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A drawn figure, as the page shows it."""

    drawing: Drawing
    content: bytes

    @property
    def source(self) -> str:
        """The picture as the value of `src`: a page that is one file has no other."""
        encoded = base64.b64encode(self.content).decode()
        return f"data:{_MIME[self.drawing.on_page]};base64,{encoded}"

    @property
    def css_class(self) -> str:
        """How much room it takes."""
        return "wide" if self.drawing.is_wide else "column"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """All that the page says."""

    facts: Facts
    study: StudyScores
    analysis: Analysis
    figures: Mapping[str, Sequence[Figure]]
    remarks: tuple[str, ...]


def rendered(page: Page) -> str:
    """The page as HTML."""
    from importlib.resources import files

    from jinja2 import DictLoader, Environment, StrictUndefined

    folder = files("experiments.reporting") / "templates"
    texts = {name: (folder / name).read_text("utf-8") for name in ("report.html", "report.css")}
    environment = Environment(
        loader=DictLoader(texts),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(**_values(page))


def _values(page: Page) -> dict[str, Any]:
    analysis, scores = page.analysis, page.study.scores
    families = [
        (f"Against {analysis.reference}", analysis.against),
        ("Against the ego status alone: has an arm looked?", analysis.looking),
    ]
    return {
        "facts": page.facts,
        "scores": scores,
        "analysis": analysis,
        "metric": measure(analysis.metric),
        "confidence": f"{100 * analysis.bootstrap.confidence:g} %",
        "data_source": next(iter(page.study.results.values())).metrics["data_source"],
        "num_logs": len(set(scores.logs.tolist())),
        "cities": sorted(set(scores.cities.tolist())),
        "not_navsim": NOT_NAVSIM if _OURS in scores.scorer else "",
        "main": _main_rows(page),
        "limits": _limits(page),
        "num_runs": len(page.study.results),
        "shown": [measure(name) for name in _essentials(analysis)],
        "others": [measure(name) for name in analysis.metrics[1:]],
        "sentences": [(title, _sentences(family)) for title, family in families if family],
        "needed": _needed(analysis),
        "parts": [_difference(one) for one in analysis.parts],
        "groups": [_group_table(groups, analysis) for groups in analysis.groups],
        "figures": page.figures,
        "runs": page.facts.rows,
        "run_metrics": [measure(name) for name in _run_metrics(page)],
        "run_values": {
            row.key: [_text(name, row.scores.get(name)) for name in _run_metrics(page)]
            for row in page.facts.rows
        },
        "remarks": page.remarks,
    }  # fmt: skip


def _main_rows(page: Page) -> list[dict[str, Any]]:
    analysis = page.analysis
    cells = analysis.cells()
    summaries = [analysis.summaries[cell, analysis.metric] for cell in cells]
    scale = scale_of(summaries)
    rows: list[dict[str, Any]] = []
    for cell, summary in zip(cells, summaries, strict=True):
        rows.append(
            {
                "arm": cell.arm,
                "is_first": not rows or rows[-1]["arm"] != cell.arm,
                "fraction": cell.share,
                "is_control": cell.arm in page.study.controls,
                "summary": summary,
                "mean": _mean(summary),
                "interval": _interval(summary),
                "points": points_svg(summary, scale),
                "shown": [
                    measure(name).text(analysis.summaries[cell, name].mean)
                    for name in _essentials(analysis)
                ],
                "others": [_mean(analysis.summaries[cell, name]) for name in analysis.metrics[1:]],
            }
        )
    return rows


def _limits(page: Page) -> list[str]:
    """What the intervals of the arms do not cover."""
    summaries = page.analysis.summaries
    notes = [
        summary.note
        for (cell, metric), summary in summaries.items()
        if metric == page.analysis.metric and cell.arm in page.study.arms and summary.note
    ]
    return list(dict.fromkeys(notes))


def _essentials(analysis: Analysis) -> list[str]:
    """What stands beside the main metric; the rest has a table of its own."""
    return [name for name in _BESIDE if name in analysis.metrics[1:]]


def _mean(summary: Summary) -> str:
    shown = measure(summary.metric)
    spread = "" if summary.std is None else f" ± {shown.text(summary.std)}"
    return f"{shown.text(summary.mean)}{spread}"


def _interval(summary: Summary) -> str:
    if summary.interval is None:
        return ""
    shown = measure(summary.metric)
    return f"{shown.text(summary.interval.low)} to {shown.text(summary.interval.high)}"


def _sentences(family: Sequence[Comparison]) -> dict[str, list[str]]:
    """Comparisons in words, `first`, and `more` of a long list: those below the largest fraction.

    The fraction is told where rows differ in it.
    """
    several = len({one.a.fraction for one in family}) > 1
    most = max(one.a.fraction for one in family)
    found: dict[str, list[str]] = {"first": [], "more": []}
    for one in family:
        said = sentence(one).replace("p = ", "p\u00a0=\u00a0")
        if several and one.a.fraction == one.b.fraction:  # else the sentence tells it
            said = f"{100 * one.a.fraction:g} %: {said}"
        is_later = len(family) > _FEW_SENTENCES and one.a.fraction < most
        found["more" if is_later else "first"].append(said)
    return found


def _needed(analysis: Analysis) -> list[str]:
    """How many labels each arm needs; not of the one that has the reference on its curve."""
    return [
        curve.sentence()
        for curve in analysis.curves
        if curve.reference not in [point.cell for point in curve.points]
    ]


def _difference(one: Comparison) -> dict[str, Any]:
    shown = measure(one.metric)
    low, high = (shown.text(end, signed=True) for end in one.interval)
    holds = one.is_distinguishable
    return {
        "arm": one.a.arm,
        "metric": shown.label,
        "unit": shown.unit,
        "difference": shown.text(one.difference, signed=True),
        "interval": f"{low} to {high}",
        "p": p_text(one.p_adjusted),
        "verdict": ("better" if one.a_is_better else "worse") if holds else "not distinguishable",
    }


def _group_table(groups: Groups, analysis: Analysis) -> dict[str, Any]:
    shown = measure(analysis.metric)
    compared = {(one.group, one.a.arm): _difference(one) for one in groups.comparisons}
    arms = list(next(iter(groups.means.values())))
    return {
        "by": {"city": "city", "command": "driving command"}[groups.by],
        "fraction": f"{100 * groups.fraction:g} %",
        "arms": arms,
        "family": len(groups.comparisons),
        "rows": [
            {
                "group": name,
                "tokens": groups.sizes[name][0],
                "logs": groups.sizes[name][1],
                "means": [shown.text(means[arm]) for arm in arms],
                "differences": [compared.get((name, arm)) for arm in arms[1:]],
            }
            for name, means in groups.means.items()
        ],
    }


def _run_metrics(page: Page) -> list[str]:
    return [name for name in PAGE_METRICS if any(name in row.scores for row in page.facts.rows)]


def _text(metric: str, value: float | None) -> str:
    return "" if value is None else measure(metric).text(value)
