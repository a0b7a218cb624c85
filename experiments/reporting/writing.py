"""Write the report of a study: the page, its figures as files, and a table for a paper."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.data.errors import DataError
from experiments.report import scored
from experiments.reporting.analysis import Analysis, analyse
from experiments.reporting.curves import curve_drawings
from experiments.reporting.drawings import Drawing, score_drawings
from experiments.reporting.facts import facts_of
from experiments.reporting.page import PAGE_METRICS, Figure, Page, rendered
from experiments.reporting.scenes import scene_drawings
from experiments.reporting.scores import StudyScores, scores_of
from experiments.settings import register
from experiments.statistics import latex_table
from launcher.errors import LauncherError
from launcher.files import write_bytes
from launcher.studies import Study

FOLDER = "report"
PAGE, FIGURES, TABLE = "index.html", "figures", "table.tex"
_TABLE_METRICS = ("pdms", "nc", "dac", "ep", "ttc", "comfort", "ade_m")


def write(
    study: Study, *, against: str | None = None, metric: str | None = None, out: Path | None = None
) -> Path | None:
    """Write the report of the completed runs of a study.

    Args:
        study: The study; runs that are not completed are listed.
        against: Arm that the others are compared with; the first one if left out.
        metric: What is compared; the PDM score where the runs have one, if left out.
        out: Folder, `report` in the study's if left out.

    Returns:
        The path of its page; None where no completed run has scores of a planner.

    Raises:
        ConfigError: there is no such arm or metric.
        LauncherError: runs were scored by two scorers or metric versions, or on other tokens, or
            some of their scores are missing.
    """
    results = scored(study)
    if not results:
        return None
    register()  # frozen configs refer to our resolvers
    scores = scores_of(results)
    analysis = analyse(scores, against=against, metric=metric)
    remarks = list(analysis.remarks)
    drawings = list(score_drawings(analysis))
    curves, said = curve_drawings(study, scores)
    sheets = _sheets(scores, analysis, remarks)
    folder = out or study.path / FOLDER
    figures = {
        name: [_written(drawing, folder / FIGURES) for drawing in group]
        for name, group in (("scores", drawings), ("scenes", sheets), ("curves", curves))
    }
    table = _table(scores, analysis, remarks)
    page = Page(
        facts=facts_of(study, PAGE_METRICS),
        study=scores,
        analysis=analysis,
        figures=figures,
        remarks=tuple(dict.fromkeys([*remarks, *said])),
    )
    if table is not None:
        write_bytes(folder / TABLE, table.encode())
    write_bytes(folder / PAGE, rendered(page).encode())
    return folder / PAGE


def _sheets(scores: StudyScores, analysis: Analysis, remarks: list[str]) -> Sequence[Drawing]:
    """Trajectory sheets, or a remark why there are none: the scores stand without them."""
    try:
        return scene_drawings(scores, analysis)
    except LauncherError as error:
        remarks.append(f"no scenes are drawn: {error.message}")
        return ()


def _table(scores: StudyScores, analysis: Analysis, remarks: list[str]) -> str | None:
    names = [name for name in _TABLE_METRICS if name in analysis.metrics]
    names = list(dict.fromkeys([analysis.metric, *names]))
    try:
        return latex_table(scores.scores, analysis.cells(), names, bootstrap=analysis.bootstrap)
    except DataError as error:
        remarks.append(f"no {TABLE}: {error.message}")
        return None


def _written(drawing: Drawing, folder: Path) -> Figure:
    """Draw a figure in each format once, and keep what the page shows."""
    contents = {
        suffix: drawing.draw(suffix) for suffix in dict.fromkeys([drawing.on_page, *drawing.files])
    }
    for suffix in drawing.files:
        write_bytes(folder / f"{drawing.name}.{suffix}", contents[suffix])
    return Figure(drawing=drawing, content=contents[drawing.on_page])
