"""Space and files that a folder takes, as the disk counts them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from launcher import usage

SIZE = 256 * 1024


def write(path: Path, size: int = SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    return path


def test_everything_below_a_folder_counts_and_the_folder_itself_is_an_inode(
    tmp_path: Path,
) -> None:
    write(tmp_path / "a")
    write(tmp_path / "deep" / "er" / "b")
    found = usage.of(tmp_path)
    assert found.bytes >= 2 * SIZE
    assert found.inodes == 5


def test_a_file_with_several_names_counts_once(tmp_path: Path) -> None:
    write(tmp_path / "a")
    before = usage.of(tmp_path)
    (tmp_path / "again").hardlink_to(tmp_path / "a")
    assert usage.of(tmp_path) == before


def test_a_link_counts_itself_and_not_what_it_leads_to(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "large", 4 * SIZE)
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "to_folder").symlink_to(tmp_path / "elsewhere")
    (folder / "to_file").symlink_to(tmp_path / "elsewhere" / "large")
    (folder / "to_nothing").symlink_to(tmp_path / "nothing")
    found = usage.of(folder)
    assert found.bytes < SIZE
    assert found.inodes == 4


def test_a_link_to_a_folder_above_ends(tmp_path: Path) -> None:
    (tmp_path / "up").symlink_to(tmp_path)
    assert usage.of(tmp_path).inodes == 2


def test_what_a_sparse_file_does_not_occupy_does_not_count(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(100 * SIZE)
    assert usage.of(tmp_path).bytes < SIZE


def test_a_folder_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert usage.of(tmp_path / "nothing").bytes == 0


def test_a_folder_that_vanishes_on_the_way_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a")
    write(tmp_path / "gone" / "b")
    scandir = os.scandir

    def scan(path: str) -> object:
        if path.endswith("gone"):
            raise FileNotFoundError(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan)
    assert usage.of(tmp_path).inodes == 3
