"""A table that LaTeX sets as it stands, with bold where nothing is shown to be better."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from experiments.statistics import CONSTANT_VELOCITY, AlignedScores, Bootstrap, Cell, latex_table
from experiments.statistics.latex import escape
from tests.unit.experiments.statistics.tables import cells

FAST = Bootstrap(resamples=2000)
ODD = Cell(r"ViT_B & 50 % \ ~{#1}^$ <|> \"", 1.0)
BEST, NEAR, FAR = Cell("best", 1.0), Cell("near", 1.0), Cell("far", 1.0)


def arms(metric: str = "pdms") -> AlignedScores:
    generator = np.random.default_rng(0)
    levels = {BEST: 0.8, NEAR: 0.799, FAR: 0.6}
    rows = {cell: level + generator.normal(0, 0.05, (3, 60)) for cell, level in levels.items()}
    return cells(rows, metric=metric)


def test_letters_that_latex_takes_for_commands_are_escaped() -> None:
    assert escape("a_b & 5 %") == r"a\_b \& 5 \%"
    assert escape(r"\x{1}") == r"\textbackslash{}x\{1\}"
    assert escape("~^$#") == r"\textasciitilde{}\textasciicircum{}\$\#"
    assert escape('<|>"\n') == r"\textless{}\textbar{}\textgreater{}\char34{} "


def test_all_that_cannot_be_told_from_the_best_is_bold() -> None:
    lines = latex_table(arms(), [BEST, NEAR, FAR], ["pdms"], bootstrap=FAST).splitlines()
    rows = [line for line in lines if r"\pm" in line]
    assert [r"\mathbf" in row for row in rows] == [True, True, False]
    assert r" & PDMS $\uparrow$ \\" in lines
    assert lines[-1].startswith(
        "% mean +- sample standard deviation over 3 seeds, 60 tokens of 60 logs"
    )
    assert "scorer own@1234, metric version pdms-v1" in lines[-1]


def test_the_lowest_error_is_bold() -> None:
    table = latex_table(arms("ade_m"), [BEST, NEAR, FAR], ["ade_m"], bootstrap=FAST)
    assert r"ADE [m] $\downarrow$" in table
    assert [r"\mathbf" in line for line in table.splitlines() if r"\pm" in line] == [
        False,
        False,
        True,
    ]


def test_one_seed_has_no_deviation_and_fractions_are_told_apart() -> None:
    scores = cells({Cell("a", 0.1): np.full((1, 8), 0.5), Cell("a", 1.0): np.full((1, 8), 0.7)})
    table = latex_table(scores, scores.cells, ["pdms"], bootstrap=FAST)
    assert r"a (10 \%) & $50.0$ \\" in table
    assert r"a (100 \%) & $\mathbf{70.0}$ \\" in table
    assert "% mean of 1 seed, 8 tokens" in table
    assert "deviation" not in table


def test_what_learns_from_no_labels_has_no_fraction_and_counts_no_seeds() -> None:
    still = Cell(CONSTANT_VELOCITY, 1.0)
    rows = {Cell("a", f): np.full((2, 8), f) for f in (0.1, 0.5)} | {still: np.full((1, 8), 0.2)}
    scores = cells(rows)
    table = latex_table(scores, [*rows], ["pdms"], bootstrap=FAST)
    assert r"constant velocity & $20.0$ \\" in table
    assert r"a (10 \%) &" in table
    assert "deviation over 2 seeds, 8 tokens" in table
    alone = latex_table(scores, [Cell("a", 0.5), still], ["pdms"], bootstrap=FAST)
    assert r"a & $" in alone


def test_a_mean_of_one_seed_beside_those_of_several_is_told() -> None:
    scores = cells({BEST: np.full((3, 8), 0.5), FAR: np.full((1, 8), 0.2)})
    table = latex_table(scores, [BEST, FAR], ["pdms"], bootstrap=FAST)
    assert "deviation over 3 seeds; without +- 1 seed, 8 tokens" in table


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex here")
def test_latex_sets_the_table(tmp_path: Path) -> None:
    scores = cells({ODD: np.full((2, 8), 0.5), BEST: np.full((2, 8), 0.7)})
    table = latex_table(scores, scores.cells, ["pdms"], bootstrap=FAST)
    head = r"\documentclass{article}\usepackage{booktabs}\begin{document}"
    (tmp_path / "t.tex").write_text(head + table + r"\end{document}")
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "t.tex"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
