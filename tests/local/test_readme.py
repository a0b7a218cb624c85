"""The README's first command does what the README says, in the folder of a fresh user."""

import csv
import re
import shlex
from pathlib import Path

import pytest

from tests.programs import REPOSITORY, train

pytestmark = pytest.mark.local

TIMEOUT_S = 1200


def main_job() -> list[str]:
    """Overrides of the main job, as the README has them."""
    readme = (REPOSITORY / "README.md").read_text()
    command = re.search(r"pip install -e \. && python train\.py (.*)", readme)
    assert command is not None
    return shlex.split(command.group(1))


def test_the_main_job_ends_in_a_table_and_a_figure_and_beats_constant_velocity(
    tmp_path: Path,
) -> None:
    done = train(*main_job(), cwd=tmp_path, timeout_s=TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    (study,) = tmp_path.glob("outputs/backbone-*")
    with (study / "results.csv").open() as file:
        ade_m = {row["run"]: float(row["ade_m"]) for row in csv.DictReader(file)}
    # Six planners, the ego status alone at each label fraction, and constant velocity.
    assert len(ade_m) == 10
    for backbone in ("ijepa", "transfuser"):
        assert f"backbone={backbone} fraction=1.0" in done.stdout
        assert ade_m[f"backbone={backbone} fraction=1.0"] < ade_m["constant velocity"]
        assert (
            ade_m[f"backbone={backbone} fraction=1.0"] < ade_m[f"backbone={backbone} fraction=0.1"]
        )
    assert (study / "score_vs_fraction.png").read_bytes().startswith(b"\x89PNG")
    assert (study / "report" / "index.html").is_file()
    assert len(list(tmp_path.glob("outputs/prerequisites/*/checkpoints/ijepa.pth.tar"))) == 1

    again = train(*main_job(), cwd=tmp_path)
    assert again.returncode == 0
    assert "8 runs: 8 done; 0 to submit" in again.stderr


def test_every_page_that_the_readme_links_to_exists() -> None:
    readme = (REPOSITORY / "README.md").read_text()
    links = re.findall(r"\]\(([^)#]+)\)", readme)
    assert links
    assert [link for link in links if not (REPOSITORY / link).exists()] == []
