"""Which windows train, validate and test, and the traps of doing that wrongly."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments.data import DataError, Splits, datasets
from experiments.data.filters import read_filter
from experiments.data.selection import Scenes, scenes_of
from experiments.data.split import drive_of, tokens_sha256
from experiments.settings import DataConfig
from launcher.errors import ConfigError
from tests.unit.experiments.data.navsim_layout import (
    into_parts,
    tokens_of,
    write_filter,
    write_yaml,
)
from tests.unit.experiments.data.worlds import (
    WINDOWS_PER_LOG,
    copy_logs,
    edit_log,
    first_log,
    open_copy,
)


@pytest.fixture
def logs(splits: Splits) -> list[str]:
    return sorted(splits.source.index.log_names)


@pytest.fixture
def all_tokens(splits: Splits) -> list[str]:
    return tokens_of(splits.source)  # type: ignore[arg-type]


def taken(splits: Splits, path: str, config: DataConfig) -> Scenes:
    source = splits.source
    return scenes_of(source.index, source.frame_log, read_filter("data.filter", path), config)


def named(splits: Splits, rows: np.ndarray) -> list[str]:
    return [token.decode() for token in splits.source.index.token[rows]]


def custom(config: DataConfig, folder: Path, **logs_of: list[str]) -> DataConfig:
    """Three filters, each of these logs."""
    paths = {key: write_filter(folder / f"{key}.yaml", log_names=logs_of[key]) for key in logs_of}
    return replace(
        config,
        split="custom",
        filter=paths["train"],
        val_filter=paths["val"],
        test_filter=paths["test"],
    )


def test_tokens_are_taken_one_by_one(
    splits: Splits, small_world: DataConfig, tmp_path: Path, all_tokens: list[str]
) -> None:
    wanted = [all_tokens[7], all_tokens[0], all_tokens[12]]
    scenes = taken(splits, write_filter(tmp_path / "f.yaml", tokens=wanted), small_world)
    assert named(splits, scenes.rows) == [all_tokens[0], all_tokens[7], all_tokens[12]]
    scenes.require_whole()


def test_without_an_interval_windows_do_not_overlap(
    splits: Splits, small_world: DataConfig, tmp_path: Path, all_tokens: list[str]
) -> None:
    path = write_filter(tmp_path / "f.yaml", frame_interval=None)
    assert named(splits, taken(splits, path, small_world).rows) == all_tokens[::WINDOWS_PER_LOG]
    every_other = write_filter(tmp_path / "g.yaml", frame_interval=2)
    rows = taken(splits, every_other, small_world).rows
    assert len(rows) == 2 * len(splits.source.index.log_names)


def test_the_stride_counts_frames_not_windows_with_a_route(
    recorded: DataConfig, tmp_path: Path
) -> None:
    edit_log(first_log(recorded), lambda frames: frames[3].update(roadblock_ids=[]))
    source = open_copy(recorded)
    asked = read_filter("data.filter", write_filter(tmp_path / "f.yaml", frame_interval=2))
    rows = scenes_of(source.index, source.frame_log, asked, recorded).rows
    # Windows begin at frames 0 and 2; that at 0 has no route, that at 1 does not take its place.
    assert source.index.frame[rows].tolist() == [5, 16 + 3, 16 + 5]


def test_the_first_scenes_are_those_of_the_first_logs(
    splits: Splits, small_world: DataConfig, tmp_path: Path, all_tokens: list[str]
) -> None:
    path = write_filter(tmp_path / "f.yaml", max_scenes=4)
    assert named(splits, taken(splits, path, small_world).rows) == all_tokens[:4]


def test_tokens_that_are_in_no_log_are_counted_and_named(
    small_world: DataConfig, tmp_path: Path, all_tokens: list[str]
) -> None:
    foreign = [f"{n:016x}" for n in range(5)]
    path = write_filter(tmp_path / "f.yaml", tokens=[*all_tokens, *foreign])
    with pytest.raises(
        DataError, match=rf"lists {len(all_tokens) + 5} tokens, and 5 of them"
    ) as caught:
        datasets(replace(small_world, filter=path))
    assert all(token in str(caught.value) for token in foreign[:3])
    assert foreign[3] not in str(caught.value)


def test_a_longer_token_is_not_the_one_that_it_begins_with(
    small_world: DataConfig, tmp_path: Path, all_tokens: list[str]
) -> None:
    path = write_filter(
        tmp_path / "f.yaml", tokens=[*all_tokens, all_tokens[0] + "0", all_tokens[1][:-1]]
    )
    with pytest.raises(DataError, match="2 of them are not in the data"):
        datasets(replace(small_world, filter=path))


def test_a_token_of_a_frame_that_is_no_window_is_missing(
    recorded: DataConfig, tmp_path: Path
) -> None:
    last = open_copy(recorded).log_index.frame_token[15].decode()
    path = write_filter(tmp_path / "f.yaml", tokens=[last])
    with pytest.raises(DataError, match="too near to the end of a log"):
        datasets(replace(recorded, filter=path, test_share=0.0))


def test_logs_of_a_filter_that_are_not_there_are_named(
    small_world: DataConfig, tmp_path: Path, logs: list[str]
) -> None:
    path = write_filter(tmp_path / "f.yaml", log_names=[*logs, "not-downloaded"])
    with pytest.raises(DataError, match="1 of them are not in the data: `not-downloaded`"):
        datasets(replace(small_world, filter=path))


def test_lists_divide_what_the_filter_takes(
    small_world: DataConfig, tmp_path: Path, logs: list[str]
) -> None:
    lists = write_yaml(
        tmp_path / "lists.yaml",
        train_logs=[*logs[:3], "elsewhere"],
        val_logs=logs[3:4],
        test_logs=logs[4:],
    )
    config = replace(small_world, split="navsim", split_files=[lists])
    split = datasets(config)
    assert split.train_logs == tuple(logs[:3])
    assert split.val_logs == tuple(logs[3:4])
    assert split.test_logs == tuple(logs[4:])
    final = write_filter(tmp_path / "test.yaml", log_names=logs[5:])
    assert datasets(replace(config, test_filter=final)).test_logs == tuple(logs[5:])


def test_a_log_in_none_of_the_lists_is_refused_not_dropped(
    small_world: DataConfig, tmp_path: Path, logs: list[str]
) -> None:
    lists = write_yaml(
        tmp_path / "lists.yaml", train_logs=logs[:3], val_logs=logs[3:4], test_logs=logs[4:5]
    )
    every = write_filter(tmp_path / "f.yaml", log_names=logs)
    config = replace(small_world, split="navsim", split_files=[lists], filter=every)
    with pytest.raises(ConfigError, match=f"1 logs are in none of the lists .*`{logs[5]}`"):
        datasets(config)


def test_lists_without_validation_are_refused(
    small_world: DataConfig, tmp_path: Path, logs: list[str]
) -> None:
    lists = write_yaml(tmp_path / "lists.yaml", train_logs=logs[:3], test_logs=logs[3:])
    with pytest.raises(ConfigError, match="leaves no window for val"):
        datasets(replace(small_world, split="navsim", split_files=[lists]))


def test_custom_filters_say_what_each_part_is(
    small_world: DataConfig, tmp_path: Path, logs: list[str]
) -> None:
    config = custom(small_world, tmp_path, train=logs[:2], val=logs[2:3], test=logs[3:])
    split = datasets(config)
    assert (split.train_logs, split.val_logs, split.test_logs) == (
        tuple(logs[:2]),
        tuple(logs[2:3]),
        tuple(logs[3:]),
    )


# Traps: each of these goes wrong in public code without anybody noticing.


def test_trap_windows_of_one_log_are_never_on_two_sides(
    splits: Splits, small_world: DataConfig, tmp_path: Path, logs: list[str]
) -> None:
    drives = [
        {drive_of(name) for name in part}
        for part in (splits.train_logs, splits.val_logs, splits.test_logs)
    ]
    assert len(set.union(*drives)) == sum(map(len, drives))
    config = custom(small_world, tmp_path, train=logs[:3], val=logs[2:4], test=logs[4:])
    with pytest.raises(ConfigError, match=f"1 logs would be in train and in val: `{logs[2]}`"):
        datasets(config)


def test_trap_tokens_of_one_log_are_not_split_between_training_and_test(
    splits: Splits, small_world: DataConfig, tmp_path: Path, logs: list[str]
) -> None:
    config = custom(small_world, tmp_path, train=logs[:3], val=logs[3:4], test=logs[4:])
    own = tokens_of(splits.source, logs[0])  # type: ignore[arg-type]
    other = tokens_of(splits.source, logs[5])  # type: ignore[arg-type]
    path = write_filter(tmp_path / "leak.yaml", tokens=[own[0], *other])
    with pytest.raises(ConfigError, match="in train and in test"):
        datasets(replace(config, test_filter=path))


def test_trap_a_label_fraction_of_a_filter_has_the_tokens_that_it_says(
    small_world: DataConfig, tmp_path: Path, all_tokens: list[str]
) -> None:
    path = write_filter(tmp_path / "f.yaml", tokens=all_tokens[::2])
    config = replace(small_world, filter=path, allow_empty_strata=True)
    whole, part = datasets(config), datasets(replace(config, fraction=0.5))
    rows = part.source.index
    trained = [rows.token[i].decode() for i in part.train]
    assert part.train_tokens_sha256 == tokens_sha256(trained) != whole.train_tokens_sha256
    assert set(trained) < set(all_tokens[::2])
    assert part.num_train_tokens_available == whole.num_train_tokens_available == len(whole.train)
    assert (part.val_tokens_sha256, part.test_tokens_sha256) == (
        whole.val_tokens_sha256,
        whole.test_tokens_sha256,
    )


def test_trap_no_scene_of_a_part_is_dropped(
    splits: Splits, small_world: DataConfig, tmp_path: Path, all_tokens: list[str]
) -> None:
    path = write_filter(tmp_path / "f.yaml", tokens=all_tokens)
    split = datasets(replace(small_world, filter=path))
    parts = [split.train, split.val, split.test]
    assert sum(map(len, parts)) == len(all_tokens)
    np.testing.assert_array_equal(split.train, splits.train)


# Sub-folders of logs and sensors, as NAVSIM's download has them.


def test_parts_are_one_data_set(small_world: DataConfig, recorded: DataConfig) -> None:
    flat = open_copy(recorded)
    tokens, image = flat.index.token.tolist(), flat.image(3)
    config = into_parts(recorded, ["trainval", "test"])
    source = open_copy(config)
    assert source.index.token.tolist() == tokens
    assert source.log_index.log_parts == ("trainval", "test")
    np.testing.assert_array_equal(source.image(3), image)
    assert source.lidar(20).any()
    assert len(source.boxes(0).step)


def test_logs_in_sub_folders_are_hinted_at(recorded: DataConfig) -> None:
    into_parts(recorded, ["trainval", "test"])
    with pytest.raises(DataError, match=r"data\.parts=\[trainval,test\]"):
        open_copy(recorded)


def test_a_part_that_is_not_there_is_named(recorded: DataConfig) -> None:
    config = replace(into_parts(recorded, ["trainval"]), parts=["trainval", "tset"])
    with pytest.raises(ConfigError, match=r"navsim_logs/tset"):
        open_copy(config)


def test_a_broken_log_that_nobody_asked_for_is_not_read(
    small_world: DataConfig, tmp_path: Path
) -> None:
    config = copy_logs(small_world, tmp_path / "three", num_logs=3)
    broken = first_log(config)
    broken.write_bytes(b"")
    names = sorted(path.stem for path in broken.parent.glob("*.pkl"))[1:]
    path = write_filter(tmp_path / "f.yaml", log_names=names)
    with pytest.raises(DataError, match=broken.name):
        open_copy(config)
    assert open_copy(replace(config, filter=path)).index.log_names == tuple(names)


def test_windows_without_a_route_may_be_wanted(recorded: DataConfig) -> None:
    edit_log(first_log(recorded), lambda frames: frames[3].update(roadblock_ids=[]))
    assert len(open_copy(recorded).index) == 2 * WINDOWS_PER_LOG - 1
    assert len(open_copy(replace(recorded, has_route=False)).index) == 2 * WINDOWS_PER_LOG


# Units of a label fraction.


@pytest.mark.parametrize("unit", ["log", "drive", "token"])
def test_fractions_by_any_unit_are_nested(small_world: DataConfig, unit: str) -> None:
    config = replace(small_world, fraction_unit=unit, allow_empty_strata=True)
    sizes = [set(datasets(replace(config, fraction=f)).train.tolist()) for f in (0.2, 0.5, 1.0)]
    assert sizes[0] < sizes[1] < sizes[2]


def test_windows_as_units_are_marked_as_not_independent(small_world: DataConfig) -> None:
    config = replace(small_world, fraction=0.5, fraction_unit="token", allow_empty_strata=True)
    split = datasets(config)
    assert split.summary()["fraction_unit"] == "token (not independent)"
    assert len(split.train) == -(-split.num_train_tokens_available // 2)
    # Half of the windows still come from nearly all logs: that is why it is marked.
    assert len(split.train_logs) > split.num_train_logs_available / 2


def test_whole_drives_are_drawn_together(small_world: DataConfig) -> None:
    config = replace(small_world, fraction=0.5, fraction_unit="drive", allow_empty_strata=True)
    split, whole = datasets(config), datasets(small_world)
    drives = set(split.train_drives)
    assert split.train_logs == tuple(n for n in whole.train_logs if drive_of(n) in drives)
    assert split.num_train_drives_available == len(whole.train_drives)


def test_strata_without_labels_are_said(
    small_world: DataConfig, caplog: pytest.LogCaptureFixture
) -> None:
    config = replace(small_world, fraction=0.1, allow_empty_strata=True)
    with caplog.at_level(logging.INFO):
        split = datasets(config)
    assert split.summary()["empty_strata"] == len(split.empty_strata) > 0
    assert split.empty_strata[0] in caplog.text
