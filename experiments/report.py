"""Results table and figure of a study. Runs where the study is followed; imports no torch."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.table import Table

from experiments.figures.fractions import Point, score_against_fraction
from launcher import ui
from launcher.errors import LauncherError
from launcher.files import write_bytes
from launcher.studies import RunResult, Study

if TYPE_CHECKING:
    from experiments.statistics.measures import Measure

PDMS, SCORE = "pdms", "ade_m"
"""The main metric where it is there, and what every run of a planner has: average displacement
error over 4 s [m]."""
SHOWN = (PDMS, "nc", "dac", "ep", "ttc", "comfort", SCORE, "offroad_rate", "collision_rate")
"""Metrics of the terminal table; `results.csv` has all of them."""
RATES = {"collides": "collision_rate", "leaves_drivable_area": "offroad_rate"}
"""Metrics that have another name as a mean over tokens."""
_HEADS = {"offroad_rate": "off", "collision_rate": "coll"}
BASELINE = "constant_velocity"
CONTROL = "ego_status"
"""What can be planned without looking, fitted from the labels of each run."""
CONTROL_NAME = "ego status alone"
_OWN_COLUMNS = ("fraction", "seed")
"""Label fraction and seed are told apart from the arm; keys may come shortened."""
_SCORED_BY = ("metric_version", "scorer")


@dataclass(frozen=True, kw_only=True)
class Condition:
    """Runs that differ in nothing but the seed."""

    name: str
    arm: str
    fraction: float
    metrics: Sequence[dict[str, Any]]
    """Of each run."""

    def row(self) -> dict[str, Any]:
        """One row: means and sample standard deviations over the seeds, and how many there are."""
        names = [name for name, value in self.metrics[0].items() if isinstance(value, float)]
        row: dict[str, Any] = {"run": self.name, "runs": len(self.metrics)}
        for name in names:
            values = [float(found[name]) for found in self.metrics]
            row[name] = statistics.fmean(values)
            row[f"{name}_std"] = statistics.stdev(values) if len(values) > 1 else None
        return row


def write(study: Study) -> None:
    """Print the results table and save it as CSV, with the figure of score against fraction.

    Raises:
        LauncherError: runs were scored by two scorers or metric versions, or on other tokens.
    """
    results = scored(study)
    if not results:
        rows = [{"run": result.name, **result.metrics} for result in study.results()]
        ui.show(ui.rows_table(rows), title=study.record.study_id)
        return
    table = tabulate(results)
    everything = [*conditions(results), *controls(results)]
    source = str(results[0].metrics["data_source"])
    ui.show(_shown(everything, _baseline(results)), title=_title(study, everything, source))
    write_bytes(study.path / "results.csv", _csv(table).encode())
    metric = main_metric(results)
    for suffix in ("png", "svg"):
        figure = score_against_fraction(
            _points(everything, metric),
            _baseline(results)[metric],
            source,
            suffix,
            metric=metric,
            control=CONTROL_NAME,
        )
        write_bytes(study.path / f"score_vs_fraction.{suffix}", figure)
    ui.say(f"saved results.csv, score_vs_fraction.png and .svg in {study.path}")


def scored(study: Study) -> list[RunResult]:
    """The completed runs that have scores of a planner."""
    return [result for result in study.results() if SCORE in result.metrics]


def main_metric(results: Sequence[RunResult]) -> str:
    """The PDM score where the runs have one, else the displacement error."""
    return PDMS if PDMS in results[0].metrics else SCORE


def tabulate(results: Sequence[RunResult]) -> list[dict[str, Any]]:
    """One row per run, then the controls, all scored on the same tokens.

    Raises:
        LauncherError: runs were scored on different tokens, by different scorers or by different
            versions of the metrics, so they cannot share a table.
    """
    refuse_mixed(results)
    baseline = _baseline(results)
    rows = [{"run": result.name, "key": result.key, **_own(result.metrics)} for result in results]
    rows += [
        {"run": f"{CONTROL_NAME} fraction={fraction} seed={seed}", **metrics}
        for (fraction, seed), metrics in _controls(results).items()
    ]
    return [*rows, {"run": BASELINE.replace("_", " "), **baseline}]


def refuse_mixed(results: Sequence[RunResult]) -> None:
    """Refuse runs whose numbers were made in two ways.

    Raises:
        LauncherError: it names them, and a run of each.
    """
    for name in _SCORED_BY:
        found: dict[str, list[str]] = {}
        for result in results:
            value = str(result.metrics.get(name, "unknown"))
            found.setdefault(value, []).append(result.name)
        if len(found) > 1:
            ways = "; ".join(
                f"`{value}` ({len(runs)} run{'s' * (len(runs) > 1)}, e.g. {runs[0]})"
                for value, runs in found.items()
            )
            raise LauncherError(
                f"the runs have {len(found)} values of `{name}`, so they share no table: {ways}",
                hint="score all of them with one version: the study's command with force=true",
            )


def conditions(results: Sequence[RunResult]) -> list[Condition]:
    """Group runs that differ in nothing but the seed, in the order of the runs."""
    groups: dict[tuple[str, float], list[dict[str, Any]]] = {}
    for result in results:
        key = (arm_of(result), float(result.config.data.fraction))
        groups.setdefault(key, []).append(_own(result.metrics))
    return _conditions(groups)


def controls(results: Sequence[RunResult]) -> list[Condition]:
    """What the ego status alone is good for at each label fraction; each seed counts once."""
    groups: dict[tuple[str, float], list[dict[str, Any]]] = {}
    for (fraction, _), metrics in _controls(results).items():
        groups.setdefault((CONTROL_NAME, fraction), []).append(metrics)
    return _conditions(groups)


def _conditions(groups: dict[tuple[str, float], list[dict[str, Any]]]) -> list[Condition]:
    several = len({fraction for _, fraction in groups}) > 1
    return [
        Condition(
            name=f"{arm} fraction={fraction}" if several else arm,
            arm=arm,
            fraction=fraction,
            metrics=metrics,
        )
        for (arm, fraction), metrics in groups.items()
    ]


def _controls(results: Iterable[RunResult]) -> dict[tuple[float, int], dict[str, Any]]:
    """Metrics of the control by label fraction and seed."""
    found: dict[tuple[float, int], dict[str, Any]] = {}
    for result in results:
        metrics = _prefixed(result.metrics, CONTROL)
        if metrics:
            config = result.config
            found[float(config.data.fraction), int(config.trainer.seed)] = metrics
    return found


def _prefixed(metrics: dict[str, Any], control: str) -> dict[str, Any]:
    prefix = f"{control}/"
    return {k.removeprefix(prefix): v for k, v in metrics.items() if k.startswith(prefix)}


def _own(metrics: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in metrics.items() if "/" not in k}


def _baseline(results: Iterable[RunResult]) -> dict[str, float]:
    """Metrics of the constant-velocity plan.

    Raises:
        LauncherError: runs were scored on different tokens, so they cannot share a table.
    """
    found = {tuple(_prefixed(result.metrics, BASELINE).items()) for result in results}
    if len(found) > 1:
        raise LauncherError(
            f"the runs were scored on different test tokens: the baseline has {len(found)} values",
            hint="compare runs with the same data.* settings; data.fraction may differ",
        )
    return dict(found.pop())


def _points(everything: Sequence[Condition], metric: str) -> list[Point]:
    return [
        Point(arm=condition.arm, fraction=condition.fraction, score=metrics[metric])
        for condition in everything
        for metrics in condition.metrics
    ]


def arm_of(result: RunResult) -> str:
    """What a run is apart from its label fraction and seed."""
    named = [
        f"{key.rpartition('.')[2]}={value}"
        for key, value in result.varying.items()
        if key.rpartition(".")[2] not in _OWN_COLUMNS
    ]
    return " ".join(named) or str(result.config.backbone.name)


def _title(study: Study, everything: Sequence[Condition], source: str) -> str:
    title = f"{study.record.study_id}: test split of {source} data, scores in points, errors in m"
    seeds = {len(condition.metrics) for condition in everything}
    if seeds == {1}:
        return title
    return f"{title}; mean ± standard deviation of {' or '.join(map(str, sorted(seeds)))} seeds"


def _shown(everything: Sequence[Condition], baseline: dict[str, float]) -> Table:
    """The table for a terminal: the essentials, with the spread of the two that matter most."""
    rows = [(condition.name, condition.row()) for condition in everything]
    rows.append((BASELINE.replace("_", " "), dict(baseline)))
    names = [name for name in SHOWN if any(name in row for _, row in rows)]
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("run", no_wrap=True)
    for name in names:
        table.add_column(_HEADS.get(name, _measure(name).label), justify="right", no_wrap=True)
    for run, row in rows:
        table.add_row(run, *(_cell(row, name) for name in names))
    return table


def _cell(row: dict[str, Any], name: str) -> str:
    if row.get(name) is None:
        return ""
    shown, spread = _measure(name), row.get(f"{name}_std")
    text = shown.text(row[name])
    if spread is None or name not in (PDMS, SCORE):
        return text
    return f"{text}±{shown.text(spread)}"


def _measure(name: str) -> Measure:
    from experiments.statistics.measures import MEASURES

    columns = {mean: column for column, mean in RATES.items()}
    return MEASURES[columns.get(name, name)]


def _csv(table: Sequence[dict[str, Any]]) -> str:
    columns = list(dict.fromkeys(name for row in table for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue()
