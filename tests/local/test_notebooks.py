"""The notebooks run on a finished study, and what is committed of them can be shown to anyone."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.programs import REPOSITORY, train

pytestmark = pytest.mark.local

FOLDER = REPOSITORY / "notebooks"
NAMES = (
    "01_plan_a_study",
    "02_results_and_statistics",
    "03_trajectories",
    "04_memory_and_scaling",
)
TIMEOUT_S = 600
SMALL_WORLD = ("data.synthetic.num_logs=16", "data.synthetic.frames_per_log=20")
MOST_BYTES = 60_000
MOST_LINES = 5
"""Of a function that a notebook defines: what is longer belongs into the package."""


@pytest.fixture(scope="module")
def finished_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def study_without_pdm_score(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("plain"), "scoring=plain")


def trained(folder: Path, *more: str) -> Path:
    """A study of four runs, in a folder of its own."""
    sweep = ("backbone=transfuser,blind", "data.fraction=0.5,1.0", "trainer.max_steps=12", *more)
    paths = (f"paths.data_dir={folder}/data", f"paths.output_dir={folder}/outputs")
    no_report = "hydra.launcher.page=null"
    done = train("-m", *sweep, *SMALL_WORLD, *paths, no_report, cwd=folder, timeout_s=TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    (study,) = folder.glob("outputs/backbone-*")
    return study


def read(name: str) -> Any:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)  # type: ignore[no-untyped-call]


def test_these_are_all_notebooks() -> None:
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_from_top_to_bottom(
    name: str, finished_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDY", str(finished_study))
    notebook = read(name)
    before = sorted(finished_study.iterdir())
    NotebookClient(
        notebook, timeout=TIMEOUT_S, resources={"metadata": {"path": str(FOLDER)}}
    ).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert finished_study.name in str(outputs[0])
    for output in outputs:
        assert output.output_type != "error"
        assert "Traceback" not in str(output)
        assert "Warning" not in str(output)
    # They look, and leave nothing.
    assert sorted(finished_study.iterdir()) == before
    committed = [cell for cell in read(name).cells if cell.cell_type == "code"]
    shown = [bool(cell.outputs) for cell in committed]
    ran = [bool(cell.outputs) for cell in notebook.cells if cell.cell_type == "code"]
    assert shown == ran


@pytest.mark.parametrize("name", ["02_results_and_statistics", "03_trajectories"])
def test_scores_without_a_pdm_score_are_told_in_their_own_unit(
    name: str, study_without_pdm_score: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDY", str(study_without_pdm_score))
    notebook = read(name)
    NotebookClient(
        notebook, timeout=TIMEOUT_S, resources={"metadata": {"path": str(FOLDER)}}
    ).execute()
    shown = "".join(
        output.get("text", "")
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    )
    assert "PDMS" not in shown
    assert "points" not in shown
    assert "ADE" in shown


@pytest.mark.parametrize("name", NAMES)
def test_what_is_committed_names_no_machine_and_is_small(name: str) -> None:
    text = (FOLDER / f"{name}.ipynb").read_text()
    content = json.loads(text)
    for cell in content["cells"]:
        for output in cell.get("outputs", []):
            assert output["output_type"] != "error"
            picture = output.get("data", {}).pop("image/png", "")
            assert len(base64.b64decode(picture)) < MOST_BYTES
        assert cell.get("execution_count") is None
        assert "execution" not in cell["metadata"]
    plain = json.dumps(content)
    # Absolute paths, and a terminal's colours.
    assert re.findall(r"(?<![\w.~/<])/(?:home|root|tmp|usr|mnt|scratch|work|opt)/", plain) == []
    assert "\\u001b" not in plain
    assert "Traceback" not in plain


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_reads_like_a_text(name: str) -> None:
    notebook = read(name)
    kinds = [cell.cell_type for cell in notebook.cells]
    assert kinds[0] == "markdown"
    assert notebook.cells[0].source.startswith("# ")
    assert kinds.count("markdown") * 3 >= len(kinds)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            for body in re.findall(r"^def .*\n(?:(?: .*|)\n)*", cell.source + "\n", re.MULTILINE):
                assert len(body.strip().splitlines()) <= MOST_LINES + 1
