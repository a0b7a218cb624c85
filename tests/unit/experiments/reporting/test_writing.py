"""The page and the files beside it say what the study shows, and need nothing from elsewhere."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from experiments.reporting import write
from experiments.reporting.facts import notes_in, notes_of
from experiments.statistics import Run
from launcher.cli import app
from launcher.errors import LauncherError
from launcher.returning import conclude
from launcher.studies import Study
from tests.unit.experiments.reporting.studies import write_study

FIGURES = (
    "label_efficiency", "differences", "differences_to_ego_status", "differences_by_metric",
    "metrics", "scenes_best", "curve_train_loss", "curve_val_ade_m", "curve_lr",
)  # fmt: skip


class Addresses(HTMLParser):
    """Whatever a page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]


def test_the_page_is_one_file_that_fetches_nothing(page: Path) -> None:
    text = page.read_text()
    addresses = Addresses()
    addresses.feed(text)
    assert addresses.found
    assert [found for found in addresses.found if not found.startswith(("data:", "#"))] == []
    assert re.findall(r"url\(|@import|<script", text) == []


@pytest.mark.parametrize("name", FIGURES)
def test_each_figure_is_in_the_page_and_beside_it(page: Path, name: str) -> None:
    assert f'id="figure-{name}"' in page.read_text()
    assert (page.parent / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")


def test_the_page_says_what_was_run_and_by_what_it_was_scored(page: Path) -> None:
    text = page.read_text()
    assert "python train.py -m backbone=ijepa,transfuser" in text
    assert "8 completed (local, cluster local)" in text
    assert "ours 1234" in text
    assert "pdms_v1" in text
    assert "<code>transfuser1001</code>" in text
    assert "transfuser is better than ijepa by 20." in text
    assert "NAVSIM" not in text


def test_a_long_list_of_comparisons_is_folded_below_the_largest_fraction(tmp_path: Path) -> None:
    study = write_study(tmp_path / "s", fractions=(0.1, 0.25, 0.5, 1.0), seeds=(0,))
    text = write(study).read_text()
    first, more = text.split("has an arm looked?")[1].split("</details>")[0].split("<details>")
    assert first.count("<li>100 %: ") == 2
    assert "6 more, with fewer labels" in more
    assert more.count("<li>") == 6


def test_no_number_on_the_page_has_more_digits_than_it_means(page: Path) -> None:
    text = re.sub(r'src="data:[^"]*"|<svg.*?</svg>|<style>.*?</style>', "", page.read_text(),
                  flags=re.DOTALL)  # fmt: skip
    assert re.findall(r"\d\.\d{4,}", text) == []


def test_the_table_for_latex_has_a_row_for_each_arm_and_fraction(page: Path) -> None:
    table = (page.parent / "table.tex").read_text()
    assert r"transfuser (100 \%) &" in table
    assert table.count(r"\\") == 1 + 4 + 2 + 1


def test_a_reference_plan_of_ours_is_called_so(tmp_path: Path) -> None:
    def change(run: Run, about: dict[str, Any]) -> None:
        about["scorer"] = "ours 1234, reference synthetic-idm-15 v1"

    study = write_study(tmp_path / "s", fractions=(1.0,), seeds=(0,), change=change)
    assert "are not NAVSIM&#39;s scores" in write(study).read_text()


def test_scenes_that_are_gone_are_left_out_and_that_is_said(tmp_path: Path) -> None:
    text = write(write_study(tmp_path / "s", fractions=(1.0,), seeds=(0,))).read_text()
    assert "no scenes are drawn: the generated scenes of the study are not at" in text
    assert 'id="scenes"' not in text


def test_a_failed_run_is_listed_with_its_reason_and_the_others_are_reported(
    tmp_path: Path,
) -> None:
    def change(run: Run, about: dict[str, Any]) -> None:
        if run == Run("ijepa", 1.0, 1):
            about["state"] = "failed"

    text = write(write_study(tmp_path / "s", fractions=(1.0,), change=change)).read_text()
    assert "backbone=ijepa fraction=1.0 seed=1</strong> is failed" in text
    assert "ValueError: &lt;b&gt;broken&lt;/b&gt;" in text
    assert "some have one seed" in text
    assert "3 completed, 1 failed" in text


def test_question_and_expectation_come_from_the_frozen_study_file(tmp_path: Path) -> None:
    file = tmp_path / "code" / "c0de" / "conf" / "study" / "mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("# @package _global_\n# Question: is it\n#   so?\n# Expected: yes.\nx: 1\n")
    assert notes_of(tmp_path, ["study=mine", "a=1"]) == {
        "Question": "is it so?",
        "Expected": "yes.",
    }
    assert notes_of(tmp_path, ["a=1"]) == {}
    assert notes_in("x: 1\n# Question: too late\n") == {}


@pytest.fixture
def small(tmp_path: Path) -> Study:
    return write_study(tmp_path / "outputs" / "small", fractions=(1.0,), seeds=(0,))


def test_launch_report_writes_the_page_where_it_is_told(small: Study, tmp_path: Path) -> None:
    out = tmp_path / "elsewhere"
    done = CliRunner().invoke(
        app,
        ["report", "small", "--root", str(small.path.parent), "--out", str(out),
         "--against", "transfuser", "--metric", "ade_m"],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "ijepa is worse than transfuser" in (out / "index.html").read_text()
    assert not (small.path / "report").exists()


def test_launch_report_refuses_two_scorer_versions_with_one_message(tmp_path: Path) -> None:
    def change(run: Run, about: dict[str, Any]) -> None:
        about["scorer"] = f"ours {run.arm}"

    study = write_study(tmp_path / "s", fractions=(1.0,), seeds=(0,), change=change)
    done = CliRunner().invoke(app, ["report", "s", "--root", str(tmp_path)])
    assert isinstance(done.exception, LauncherError)
    assert done.exception.exit_code == 2
    assert "2 values of `scorer`" in done.exception.message
    assert not (study.path / "report").exists()


def test_a_study_that_ends_has_its_page_without_a_command(
    small: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    conclude(small)
    assert (small.path / "report" / "index.html").is_file()
    assert (small.path / "results.csv").is_file()
    assert "wrote" in capsys.readouterr().err


def test_a_page_that_cannot_be_written_does_not_fail_the_study(
    small: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    (small.path / "ijepa1000" / "scores" / "planner.parquet").unlink()
    conclude(small)
    assert "no report page: there are no scores at" in capsys.readouterr().err


def test_a_study_whose_program_has_no_page_is_told_what_to_do(tmp_path: Path) -> None:
    study = write_study(tmp_path / "s", fractions=(1.0,), seeds=(0,), page=None)
    conclude(study)
    assert not (study.path / "report").exists()
    done = CliRunner().invoke(app, ["report", "s", "--root", str(tmp_path)])
    assert "names nothing that writes a report page" in str(done.exception)


def test_a_study_without_scores_has_nothing_to_report_and_says_so_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_study(tmp_path / "s", arms=("ijepa",), fractions=(1.0,), seeds=(0,))
    record = study.path / "ijepa1000" / "attempts" / "001-000.json"
    values = json.loads(record.read_text())
    record.write_text(json.dumps(values | {"result": {"encoder_loss": 0.5}}))
    conclude(study)
    assert "page" not in capsys.readouterr().err
    done = CliRunner().invoke(app, ["report", "s", "--root", str(tmp_path)])
    assert "no run of study `s` has anything to report yet" in str(done.exception)
