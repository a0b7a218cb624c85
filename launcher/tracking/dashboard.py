"""What a study's workspace and report at W&B show, as the models of `wandb-workspaces`.

Built and checked where there is no network, and applied where there is one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

from launcher.errors import LauncherError
from launcher.files import write_json
from launcher.tracking.showing import Shown
from launcher.tracking.wandb_run import STEP

LOG_FROM = 10.0
"""A swept number that spans so large a factor is drawn on a logarithmic axis."""
APPLIED = "applied.json"
"""Beside the specifications: what was made of them at W&B, so that it is updated."""


def _library(part: str) -> Any:
    """A module of wandb-workspaces, whose names are not typed; slow to import.

    Raises:
        LauncherError: it is not installed.
    """
    try:
        return import_module(f"wandb_workspaces.{part}")
    except ImportError as error:
        raise LauncherError(
            "dashboards need the package `wandb-workspaces`", hint="pip install wandb-workspaces"
        ) from error


def panels(shown: Shown) -> dict[str, list[Any]]:
    """Panels by section, in the order in which they are looked at."""
    wr = _library("reports.v2")
    metric, arm = shown.metric, wr.Config("study.arm")
    numbers = {k: v for k, v in shown.swept.items() if all(_is_number(x) for x in v)}
    found: dict[str, list[Any]] = {
        f"{metric} by what was swept": [
            wr.ScatterPlot(
                title=f"{metric} by {key}",
                x=wr.Config(key),
                y=wr.SummaryMetric(metric),
                log_x=_spans(values),
                running_ymean=True,
            )
            for key, values in numbers.items()
        ],
        "arms": [_bar(wr, name, arm) for name in (metric,)],
        "sub-metrics": [_bar(wr, name, arm) for name in shown.submetrics],
        "curves": [
            _curve(wr, name, arm) for name in shown.curves if name.startswith(("val/", "train/"))
        ],
        "learning rate": [_curve(wr, n, arm) for n in shown.curves if n.startswith("lr/")],
        "speed and memory": [
            *(_curve(wr, name, arm) for name in shown.curves if name.startswith("speed/")),
            *(
                _curve(wr, f"memory/{name}", arm)
                for name in ("node_gb", "rank_gb", "workers_gb", "gpu_gb")
            ),
        ],
        "lives": [
            wr.LinePlot(title="which life of a run logged the step", x=STEP, y=["life/number"]),
            wr.BarPlot(title="lives", metrics=[wr.SummaryMetric("num_lives")]),
        ],
        "what mattered": [
            wr.ParallelCoordinatesPlot(
                title="settings and result",
                columns=[
                    *(
                        wr.ParallelCoordinatesPlotColumn(
                            metric=wr.Config(key), log=_spans(shown.swept[key])
                        )
                        for key in shown.swept
                    ),
                    wr.ParallelCoordinatesPlotColumn(metric=wr.SummaryMetric(metric)),
                ],
            ),
            wr.ParameterImportancePlot(with_respect_to=metric),
        ],
        "runs side by side": [wr.RunComparer(diff_only="split")],
    }
    return {name: listed for name, listed in found.items() if listed}


def _bar(wr: Any, name: str, arm: Any) -> Any:
    return wr.BarPlot(
        title=f"{name}, mean and standard error over seeds",
        metrics=[wr.SummaryMetric(name)],
        groupby=arm,
        groupby_aggfunc="mean",
        groupby_rangefunc="stderr",
        orientation="h",
    )


def _curve(wr: Any, name: str, arm: Any) -> Any:
    return wr.LinePlot(
        title=name,
        x=STEP,
        y=[name],
        groupby=arm,
        groupby_aggfunc="mean",
        groupby_rangefunc="minmax",
        title_x="optimizer step",
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _spans(values: Iterable[Any]) -> bool | None:
    numbers = [float(value) for value in values if _is_number(value)]
    is_wide = bool(numbers) and min(numbers) > 0 and max(numbers) / min(numbers) >= LOG_FROM
    return True if is_wide else None


def workspace(shown: Shown) -> Any:
    """The saved view of a study, of its runs only."""
    ws, expr = _library("workspaces"), _library("expr")
    return ws.Workspace(
        entity=shown.entity,
        project=shown.project,
        name=f"study {shown.study}",
        sections=[
            ws.Section(name=name, panels=listed, is_open=True)
            for name, listed in panels(shown).items()
        ],
        settings=ws.WorkspaceSettings(x_axis=STEP, max_runs=100),
        runset_settings=ws.RunsetSettings(
            filters=expr.And(expr.Metric("Group") == shown.study),
            groupby=[ws.Config("study.arm")],
            pinned_columns=[f"summary:{shown.metric}", "summary:outcome", "summary:num_lives"],
        ),
    )


def report(shown: Shown, question: str = "") -> Any:
    """The page of a study that can be shared: question, command, table, figures."""
    wr, expr = _library("reports.v2"), _library("expr")
    # Without a project of its own it is the report's, and nobody has to be asked for an id.
    runs = wr.Runset(
        name=shown.study,
        filters=expr.And(expr.Metric("Group") == shown.study),
        groupby=["config.study.arm"],
    )
    blocks: list[Any] = [
        wr.P(question or f"What do {', '.join(shown.swept) or 'repetitions'} change?"),
        wr.H2("Command"),
        wr.CodeBlock(code=shown.command),
        wr.P(f"Code: {', '.join(shown.commits)}"),
        wr.H2("Results"),
        wr.MarkdownBlock(text=table(shown)),
    ]
    for name, listed in panels(shown).items():
        blocks += [wr.H2(name), wr.PanelGrid(runsets=[runs], panels=_placed(listed))]
    return wr.Report(
        project=shown.project,
        entity=shown.entity,
        title=f"Study {shown.study}",
        description=shown.command,
        blocks=blocks,
        width="fluid",
    )


def _placed(listed: list[Any]) -> list[Any]:
    """Two panels side by side; W&B counts 24 columns."""
    wr = _library("reports.v2")
    for number, panel in enumerate(listed):
        panel.layout = wr.Layout(x=12 * (number % 2), y=8 * (number // 2), w=12, h=8)
    return listed


def table(shown: Shown) -> str:
    """The arms with the mean of their runs, and how many those are, as Markdown."""
    name = shown.metric.removeprefix("result/")
    arms: dict[str, list[float]] = {}
    for row in shown.rows:
        if row[name] is not None:
            arms.setdefault(row["arm"], []).append(row[name])
    lines = [f"| arm | {name}, mean | lowest | highest | runs |", "|---|---|---|---|---|"]
    for arm, values in sorted(arms.items(), key=lambda item: -sum(item[1]) / len(item[1])):
        mean = sum(values) / len(values)
        lines.append(
            f"| {arm} | {mean:.4g} | {min(values):.4g} | {max(values):.4g} | {len(values)} |"
        )
    return "\n".join(lines)


def spec(model: Any) -> dict[str, Any]:
    """What is sent to W&B, without the ids that it invents anew each time."""
    plain: dict[str, Any] = json.loads(
        model._to_model().model_dump_json(by_alias=True, exclude_none=True)
    )
    stable: dict[str, Any] = _without_random_ids(plain)
    return stable


def _without_random_ids(tree: Any) -> Any:
    if isinstance(tree, dict):
        kept = {k: v for k, v in tree.items() if k not in ("__id__", "id") or not _is_id(v)}
        return {key: _without_random_ids(value) for key, value in kept.items()}
    if isinstance(tree, list):
        return [_without_random_ids(item) for item in tree]
    return tree


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and bool(re.fullmatch(r"[a-z0-9]{8,13}", value))


def write(shown: Shown, folder: Path, question: str = "") -> list[Path]:
    """Write both specifications for a machine that has a network."""
    paths = [folder / "workspace.json", folder / "report.json"]
    for path, model in zip(paths, (workspace(shown), report(shown, question)), strict=True):
        write_json(path, spec(model))
    return paths


def apply(shown: Shown, folder: Path, question: str = "") -> list[str]:
    """Create both at W&B, or update those that an earlier call made; returns their addresses.

    Raises:
        LauncherError: W&B refuses.
    """
    path = folder / APPLIED
    known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    where = {"entity": shown.entity, "project": shown.project}
    if any(known.get(key) != value for key, value in where.items()):
        known = where
    view, page = workspace(shown), report(shown, question)
    view._internal_name = known.get("view_name", view._internal_name)
    view._internal_id = known.get("view_id", view._internal_id)
    page.id = known.get("report_id", page.id)
    try:
        # Each is noted at once, so that a second one that fails makes no second of the first.
        view.save()
        known |= {"view_name": view._internal_name, "view_id": view._internal_id}
        write_json(path, known)
        page.save()
        write_json(path, known | {"report_id": page.id})
    except Exception as error:  # the library raises whatever its own requests raise
        raise LauncherError(
            f"W&B refuses the dashboard of `{shown.entity}/{shown.project}`:"
            f" {' '.join(str(error).split())[:300]}",
            hint="do the user or team (--entity) and the project exist, and may you write there?",
        ) from error
    return [view.url, page.url]
