"""What a command would do, from Python: shown, and nothing left behind."""

import shutil
from pathlib import Path

import pytest

import launcher
from launcher.errors import LauncherError
from tests.programs import PLAIN_PROJECT

pytestmark = pytest.mark.local


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return Path(shutil.copytree(PLAIN_PROJECT, tmp_path / "plain"))


def test_a_preview_shows_the_runs_and_leaves_no_file(
    project: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    before = sorted(project.rglob("*"))
    launcher.preview(["hydra/launcher=local", "x=1,2"], program=project / "app.py")
    shown = capfd.readouterr()
    assert "2 runs: 2 new; 2 to submit" in shown.out + shown.err
    assert "no file was left" in shown.err
    assert sorted(project.rglob("*")) == before


def test_a_wrong_word_is_refused_with_what_the_command_says(project: Path) -> None:
    with pytest.raises(LauncherError, match=r"Could not override .y."):
        launcher.preview(["hydra/launcher=local", "y=1"], program=project / "app.py")
