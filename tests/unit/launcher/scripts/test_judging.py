"""`launch doctor SCRIPT`: what is printed, exit codes, and files that are no scripts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from launcher.errors import ConfigError, LauncherError
from launcher.scripts import judge
from tests.unit.launcher.scripts.samples import CORRECT, changed

PROFILE = "name: x\npartition: l40s\ngpus_per_node: 4\nmem_gb_per_node: 513\n"


@pytest.fixture
def profiles(tmp_path: Path) -> Path:
    (tmp_path / "campus.yaml").write_text(PROFILE)
    return tmp_path


def _script(folder: Path, text: str) -> Path:
    path = folder / "job.slurm"
    path.write_text(text)
    return path


def test_a_good_script_leaves_0_and_says_so(
    profiles: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert judge(_script(profiles, CORRECT), "campus", profiles=profiles) == 0
    assert capsys.readouterr().out.strip().endswith("job.slurm: nothing is wrong")


def test_warnings_alone_leave_0(profiles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = changed(("#SBATCH --time=24:00:00\n", ""))
    assert judge(_script(profiles, text), "campus", profiles=profiles) == 0
    assert "1 warning" in capsys.readouterr().out


def test_an_error_leaves_1_with_line_reason_and_command(
    profiles: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _script(profiles, changed(("--ntasks-per-node=4", "--ntasks-per-node=2")))
    assert judge(path, "campus", profiles=profiles) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("2 errors")
    assert lines[1].startswith("✗ trainer-devices  line 5: `--ntasks-per-node=2` starts 2 tasks")
    assert lines[2] == "    use: #SBATCH --ntasks-per-node=4 --gres=gpu:l40s:4"
    assert lines[-1].startswith("without a script: python train.py hydra/launcher=slurm")


def test_json_holds_the_same(profiles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = _script(profiles, changed(("--gres=gpu:l40s:4", "--gres=gpu:l40s:1")))
    assert judge(path, as_json=True) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["script"] == str(path)
    assert {"rule", "severity", "line", "reason", "instead"} == set(found["findings"][0])
    assert found["instead"].startswith("python train.py")


def test_words_of_a_script_are_no_markup(
    profiles: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judge(_script(profiles, changed(("--requeue", "[red]x[/nope]"))))
    assert "`[red]x[/nope]` is no option" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x7fELF\x00\x01", "is not text"),
        (b"\xff\xfe#", "is not text"),
        (b"", "is no batch script"),
        (b"print('hello')\n", "is no batch script"),
        (b"#!/bin/bash\n" + b"#" * 5_000_000, "more than a batch script may have"),
    ],
    ids=["binary", "UTF-16", "empty", "python", "huge"],
)
def test_what_is_no_script_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(LauncherError, match=words) as caught:
        judge(path)
    assert caught.value.exit_code == 2


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.slurm", tmp_path):
        with pytest.raises(LauncherError, match="cannot be read"):
            judge(path)


def test_an_unknown_profile_is_refused_with_the_nearest(profiles: Path) -> None:
    with pytest.raises(ConfigError, match="campu") as caught:
        judge(_script(profiles, CORRECT), "campu", profiles=profiles)
    assert caught.value.hint is not None
    assert "campus" in caught.value.hint


def test_a_budget_needs_both_figures(profiles: Path) -> None:
    path = _script(profiles, CORRECT)
    with pytest.raises(ConfigError, match="--worker-gb is missing"):
        judge(path, rank_gb=20.0)
    with pytest.raises(ConfigError, match="no amount of memory"):
        judge(path, rank_gb=20.0, worker_gb=float("nan"))
    assert judge(path, rank_gb=100.0, worker_gb=5.0) == 1
