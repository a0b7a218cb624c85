"""Folders of metric caches: what is there, what is not, wherever the folder has moved to."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from experiments.data.errors import DataError
from experiments.scoring.pdm.metric_cache_index import open_metric_caches
from launcher.errors import ConfigError
from tests.unit.experiments.scoring.pdm.test_metric_cache import GOLDEN

TOKENS = ["000000000000138a", "0000000000001391", "0000000000001392"]
ABSENT = "00000000deadbeef"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN, tmp_path / "metric_cache"))


def write_metadata(folder: Path, lines: list[str], header: str = "file_name") -> None:
    (folder / "metadata").mkdir()
    table = folder / "metadata" / "metric_cache_metadata_node_0.csv"
    table.write_text("\n".join([header, *lines]) + "\n")


def test_scenes_are_found_by_their_token(folder: Path) -> None:
    caches = open_metric_caches(folder)
    assert sorted(caches.paths) == TOKENS
    assert caches.read(TOKENS[0]).token == TOKENS[0]


def test_metadata_of_another_machine_points_into_the_folder(folder: Path) -> None:
    """The devkit lists absolute paths, which makes its caches unreadable elsewhere."""
    parts = f"log-1252/synthetic/{TOKENS[1]}/metric_cache.pkl"
    write_metadata(folder, [f"/elsewhere/exp/metric_cache/{parts}"])
    caches = open_metric_caches(folder)
    assert list(caches.paths) == [TOKENS[1]]
    assert caches.read(TOKENS[1]).token == TOKENS[1]


def test_missing_scenes_are_listed_in_order(folder: Path) -> None:
    caches = open_metric_caches(folder)
    assert caches.missing([ABSENT, *TOKENS, "f00"]) == [ABSENT, "f00"]
    with pytest.raises(DataError, match=f"1 of 2 scenes are not in .*`{ABSENT}`"):
        caches.require([ABSENT, TOKENS[0]])
    with pytest.raises(DataError, match=ABSENT):
        caches.read(ABSENT)
    caches.require(TOKENS)


def test_a_scene_that_is_listed_but_not_there_is_missing(folder: Path) -> None:
    write_metadata(folder, [f"/x/log/unknown/{ABSENT}/metric_cache.pkl"])
    assert open_metric_caches(folder).missing([ABSENT]) == [ABSENT]


def test_a_token_with_two_caches_is_refused(folder: Path) -> None:
    shutil.copytree(folder / "log-1250", folder / "log-9")
    with pytest.raises(DataError, match=f"`{TOKENS[0]}` has two metric caches"):
        open_metric_caches(folder)


@pytest.mark.parametrize("line", ["metric_cache.pkl", "/a/../b/c/metric_cache.pkl", "/a/b/c/d.gz"])
def test_metadata_that_lists_something_else_is_refused(folder: Path, line: str) -> None:
    write_metadata(folder, [line])
    with pytest.raises(DataError, match="which is no metric cache"):
        open_metric_caches(folder)


def test_metadata_of_another_form_is_refused(folder: Path) -> None:
    write_metadata(folder, ["x"], header="token,valid")
    with pytest.raises(DataError, match="begins with `token,valid`"):
        open_metric_caches(folder)


def test_a_folder_without_caches_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no metric caches"):
        open_metric_caches(tmp_path)
    with pytest.raises(ConfigError, match="is not a folder"):
        open_metric_caches(tmp_path / "none")
