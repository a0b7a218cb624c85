"""Scores come back as they were stored, exactly or to half a float16, or there is a message."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.data import DataError, Splits
from experiments.data.columns import TornError
from experiments.data.dataset import PlanningDataset
from experiments.settings.teacher import TAUGHT
from experiments.teacher import store as store_module
from experiments.teacher.store import HALVES, TeacherFolder, TeacherStore, encoded
from tests.unit.experiments.data.conftest import *  # noqa: F403 its fixtures

V = 50
TOKENS = np.array([f"{n * 7919 % 1000003:016x}" for n in range(11)], "S16")


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_SHARD_ROWS", 4)


def scores_of(token: bytes) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(list(token))
    values = {name: draw.integers(0, 3, V) / 2 for name in HALVES}
    return {**values, "ep": draw.uniform(0.0, 1.0, V)}


def folder_of(home: Path, tokens: np.ndarray) -> TeacherFolder:
    facts = {"vocabulary": {"sha256": "a", "size": V}, "windows": {"count": len(tokens)}}
    return TeacherFolder.begin(home, facts, tokens)


def filled(home: Path, tokens: np.ndarray = TOKENS) -> TeacherFolder:
    folder = folder_of(home, tokens)
    for shard in range(folder.layout.num_shards):
        rows = [encoded(scores_of(tokens[row])) for row in folder.layout.rows_of(shard)]
        halves, progress = (np.stack(part) for part in zip(*rows, strict=True))
        folder.put(shard, {"halves": halves, "ep": progress})
    return folder


def opened(home: Path, metrics: tuple[str, ...] = TAUGHT) -> TeacherStore:
    return TeacherStore.open(filled(home).folder, metrics)


def test_few_values_come_back_exactly_and_progress_to_half_a_float16(tmp_path: Path) -> None:
    store = opened(tmp_path)
    for token, row in zip(TOKENS[::-1], store.rows_of(TOKENS[::-1]), strict=True):
        read = store.read(int(row))
        for column, name in enumerate(TAUGHT):
            expected = scores_of(token)[name]
            atol = 2.5e-4 if name == "ep" else 0.0
            np.testing.assert_allclose(read[:, column], expected, rtol=0.0, atol=atol)


def test_columns_come_in_the_order_in_which_they_are_named(tmp_path: Path) -> None:
    read = opened(tmp_path, ("comfort", "nc")).read(3)
    expected = scores_of(TOKENS[3])
    np.testing.assert_array_equal(read, np.stack([expected["comfort"], expected["nc"]], axis=1))


@pytest.mark.parametrize(("name", "value"), [("nc", 0.3), ("ep", 1.1), ("ep", np.nan)])
def test_a_score_that_would_not_come_back_is_refused(name: str, value: float) -> None:
    scores = scores_of(b"x")
    scores[name][7] = value
    with pytest.raises(ValueError, match=r"neither 0, 0\.5 nor 1|outside"):
        encoded(scores)


def test_windows_without_scores_are_counted_and_named(splits: Splits, tmp_path: Path) -> None:
    tokens = splits.source.index.token
    missing = tokens[splits.train[[0, 2, 3, 5]]]
    folder = filled(tmp_path, tokens[~np.isin(tokens, missing)]).folder
    with pytest.raises(DataError) as caught:
        PlanningDataset(splits.source, splits.train, [], teacher=TeacherStore.open(folder, ("nc",)))
    assert f"4 of {len(splits.train)} windows" in str(caught.value)
    assert all(token.decode() in str(caught.value) for token in missing[:3])
    assert missing[3].decode() not in str(caught.value)


def test_each_window_of_a_dataset_gets_its_own_scores(splits: Splits, tmp_path: Path) -> None:
    folder = filled(tmp_path, splits.source.index.token).folder
    dataset = PlanningDataset(
        splits.source, splits.val, [], teacher=TeacherStore.open(folder, ("dac",))
    )
    for n, i in enumerate(splits.val):
        expected = scores_of(splits.source.index.token[i])["dac"]
        np.testing.assert_array_equal(dataset[n]["teacher"].numpy()[:, 0], expected)


@pytest.mark.parametrize("other", ["abc", "a", "", "zz"])
def test_a_token_is_not_one_that_it_begins_with(tmp_path: Path, other: str) -> None:
    folder = filled(tmp_path, np.array(["aa", "ab"], "S2")).folder
    with pytest.raises(DataError, match="1 of 1 windows"):
        TeacherStore.open(folder, TAUGHT).rows_of(np.array([other.encode()], "S4"))


def test_a_store_without_a_shard_is_refused(tmp_path: Path) -> None:
    folder = filled(tmp_path)
    folder.path_of(1).unlink()
    with pytest.raises(DataError, match=r"lacks 1 of 3 shards \(shard-00001"):
        TeacherStore.open(folder.folder, TAUGHT)


def test_a_shard_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    folder = filled(tmp_path)
    with folder.path_of(2).open("r+b") as file:
        file.truncate(folder.path_of(2).stat().st_size - 5000)
    with pytest.raises(DataError, match=r"lacks 1 of 3 shards .* torn"):
        TeacherStore.open(folder.folder, TAUGHT)
    assert folder.missing(range(3), verify=True) == [2]


def test_a_shard_with_a_flipped_bit_is_seen(tmp_path: Path) -> None:
    folder = filled(tmp_path)
    columns = folder.open_shard(0)
    content = bytearray(columns.path.read_bytes())
    content[columns.columns["ep"].offset] ^= 1
    columns.path.write_bytes(content)
    assert folder.missing(range(3), verify=True) == [0]


def test_a_shard_that_is_cut_while_it_is_read_gives_no_zeros(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.read(0)
    with store.store.path_of(0).open("r+b") as file:
        file.truncate(100)
    with pytest.raises(TornError, match="ends within"):
        store.read(3)


@pytest.mark.parametrize("row", [-1, 11])
def test_a_row_that_there_is_not_is_refused(tmp_path: Path, row: int) -> None:
    with pytest.raises(IndexError):
        opened(tmp_path).read(row)


def test_scores_are_read_and_not_mapped(tmp_path: Path) -> None:
    store = opened(tmp_path)
    for row in range(11):
        store.read(row)
    assert f"{store.store.folder}/shard-" not in Path("/proc/self/maps").read_text()


def test_a_process_that_is_not_forked_opens_the_files_too(tmp_path: Path) -> None:
    store = opened(tmp_path)
    sent = pickle.dumps(store)
    assert len(sent) < 1000
    np.testing.assert_array_equal(pickle.loads(sent).read(7), store.read(7))


def test_a_token_that_comes_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="twice"):
        folder_of(tmp_path, np.append(TOKENS, TOKENS[:1]))


def test_a_description_that_was_changed_is_refused(tmp_path: Path) -> None:
    folder: Any = filled(tmp_path).folder
    path = folder / "teacher.json"
    path.write_text(path.read_text().replace('"a"', '"b"'))
    with pytest.raises(DataError, match="was changed"):
        TeacherStore.open(folder, TAUGHT)
