"""Specifications of a study's workspace and report, as W&B's own models make them."""

import json
from pathlib import Path
from typing import Any

import pytest

from launcher.tracking import dashboard
from launcher.tracking.showing import Shown

GOLDEN = Path(__file__).parents[3] / "golden" / "dashboard.json"
"""Made anew by `python -m tests.unit.launcher.tracking.test_dashboard`; look at what changed."""

SHOWN = Shown(
    study="label_efficiency",
    project="driving",
    entity="team",
    command="train.py -m backbone=blind,transfuser data.fraction=0.1,1.0 trainer.seed=0,1",
    commits=("4af7b302e357",),
    metric="result/pdms",
    submetrics=("result/nc", "result/dac"),
    swept={"backbone.name": ("blind", "transfuser"), "data.fraction": (0.1, 1.0)},
    curves=("lr/head", "train/loss", "val/ade_m", "speed/samples_per_s"),
    rows=(
        {"id": "a", "run": "backbone=blind seed=0", "arm": "backbone=blind", "pdms": 0.5},
        {"id": "b", "run": "backbone=blind seed=1", "arm": "backbone=blind", "pdms": 0.6},
        {"id": "c", "run": "backbone=transfuser", "arm": "backbone=transfuser", "pdms": 0.7},
        {"id": "d", "run": "failed", "arm": "backbone=transfuser", "pdms": None},
    ),
)


def _specs() -> dict[str, Any]:
    return {
        "workspace": dashboard.spec(dashboard.workspace(SHOWN)),
        "report": dashboard.spec(dashboard.report(SHOWN)),
    }


def test_the_specifications_are_the_known_ones_each_time() -> None:
    assert _specs() == _specs()
    assert _specs() == json.loads(GOLDEN.read_text())


def test_a_workspace_shows_what_was_asked_and_only_this_study() -> None:
    section = _specs()["workspace"]["spec"]["section"]
    listed = {
        part["name"]: [panel["viewType"] for panel in part["panels"]]
        for part in section["panelBankConfig"]["sections"]
    }
    assert listed["what mattered"] == ["Parallel Coordinates Plot", "Parameter Importance"]
    assert listed["runs side by side"] == ["Run Comparer"]
    assert listed["sub-metrics"] == ["Bar Chart", "Bar Chart"]
    assert listed["result/pdms by what was swept"] == ["Scatter Plot"]
    assert len(listed["speed and memory"]) == 5
    (runs,) = section["runSets"]
    assert [(f["key"]["name"], f["value"]) for f in runs["filters"]["filters"]] == [
        ("group", "label_efficiency")
    ]
    assert runs["grouping"] == [{"section": "config", "name": "study.value.arm"}]


def test_curves_fold_seeds_and_lie_over_optimizer_steps() -> None:
    found = dashboard.panels(SHOWN)["curves"]
    assert [panel.y for panel in found] == [["train/loss"], ["val/ade_m"]]
    assert {panel.x for panel in found} == {"trainer/global_step"}
    assert {panel.groupby.name for panel in found} == {"study.arm"}


def test_the_table_of_a_report_counts_finished_runs_only() -> None:
    lines = dashboard.table(SHOWN).splitlines()[2:]
    assert lines == [
        "| backbone=transfuser | 0.7 | 0.7 | 0.7 | 1 |",
        "| backbone=blind | 0.55 | 0.5 | 0.6 | 2 |",
    ]


@pytest.mark.parametrize(
    ("values", "is_log"), [((0.1, 1.0), True), ((0.5, 1.0), None), ((0, 9), None)]
)
def test_wide_ranges_are_drawn_on_a_logarithmic_axis(values: Any, is_log: bool | None) -> None:
    assert dashboard._spans(values) is is_log


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(_specs(), indent=1, sort_keys=True) + "\n")
