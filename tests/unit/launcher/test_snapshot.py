"""A snapshot is the working tree as git sees it, named by its content."""

import subprocess
import sys
from pathlib import Path

import pytest

from launcher import snapshot
from launcher.errors import SubmissionError


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / 'it\'s a "project"'
    (root / "src").mkdir(parents=True)
    (root / "src" / "code.py").write_text("A = 1\n")
    (root / "untracked.py").write_text("B = 1\n")
    (root / ".gitignore").write_text("big.bin\n")
    (root / "big.bin").write_bytes(b"0" * 100)
    for command in (["init", "-q"], ["add", "src", ".gitignore"]):
        subprocess.run(["git", "-C", str(root), *command], check=True)
    return root


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_tracked_and_untracked_files_are_frozen_but_not_ignored_ones(
    project: Path, tmp_path: Path
) -> None:
    folder = snapshot.read(project).write(tmp_path / "code")
    assert names(folder) == {"src/code.py", "untracked.py", ".gitignore"}


def test_an_edit_gives_another_snapshot_and_leaves_the_first_alone(
    project: Path, tmp_path: Path
) -> None:
    first = snapshot.read(project)
    folder = first.write(tmp_path / "code")
    assert snapshot.read(project).sha == first.sha
    (project / "src" / "code.py").write_text("A = 2\n")
    assert snapshot.read(project).sha != first.sha
    assert (folder / "src" / "code.py").read_text() == "A = 1\n"


def test_a_file_deleted_from_the_tree_but_not_from_git_is_left_out(
    project: Path, tmp_path: Path
) -> None:
    (project / "src" / "code.py").unlink()
    folder = snapshot.read(project).write(tmp_path / "code")
    assert "src/code.py" not in names(folder)


def test_data_in_the_tree_is_refused_with_its_name(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "MAX_BYTES", 50)
    (project / "weights.pt").write_bytes(b"0" * 60)
    with pytest.raises(SubmissionError, match=r"weights\.pt"):
        snapshot.read(project)


def test_our_own_folders_on_the_path_are_mapped_into_the_snapshot(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = snapshot.read(project).write(tmp_path / "code")
    monkeypatch.setattr(sys, "path", [str(project / "src"), "/usr/lib", str(project)])
    assert snapshot.search_path(project, folder) == [str(folder / "src"), str(folder)]
