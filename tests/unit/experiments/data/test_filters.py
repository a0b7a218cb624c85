from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments.data.filters import filters_of, read_filter
from experiments.settings import DataConfig
from launcher.errors import ConfigError
from tests.unit.experiments.data.navsim_layout import write_filter, write_yaml


def test_a_filter_of_the_devkit_is_read_as_it_is(tmp_path: Path) -> None:
    path = write_filter(
        tmp_path / "navmini.yaml",
        frame_interval=None,
        log_names=["2021.07.24.20.37.45_veh-17_00015_00375"],
        tokens=["6774548111cb5ba4", "007845701635565a"],
    )
    scenes = read_filter("data.filter", path)
    assert (scenes.num_history_frames, scenes.num_future_frames, scenes.stride) == (4, 10, 14)
    assert scenes.log_names == ("2021.07.24.20.37.45_veh-17_00015_00375",)
    assert scenes.tokens == ("6774548111cb5ba4", "007845701635565a")
    assert scenes.has_route
    assert scenes.max_scenes is None


@pytest.mark.parametrize("folder", ["common/train_test_split/scene_filter", "common/scene_filter"])
def test_names_are_looked_up_in_the_devkit(tmp_path: Path, folder: str) -> None:
    where = tmp_path / "navsim/planning/script/config" / folder
    write_filter(where / "navtrain.yaml", tokens=["a" * 16])
    assert read_filter("data.filter", "navtrain", str(tmp_path)).tokens == ("a" * 16,)
    with pytest.raises(ConfigError, match="has no such filter"):
        read_filter("data.filter", "navtrian", str(tmp_path))


def test_a_name_without_a_devkit_says_what_to_set() -> None:
    with pytest.raises(ConfigError, match=r"data\.filter=navtrain.*data\.devkit"):
        read_filter("data.filter", "navtrain")


BAD: list[tuple[dict[str, Any], str]] = [
    ({"tokens": [1872470012885118]}, "1 of the tokens .* are not text, e.g. 1872470012885118"),
    ({"tokens": ["a", "b", "a"]}, "`a` comes twice"),
    ({"log_names": "one"}, "not a list"),
    ({"frame_interval": 0}, "frame_interval: 0"),
    ({"max_scenes": True}, "max_scenes: True"),
    ({"num_history_frames": None}, "num_history_frames: None"),
    ({"has_route": "yes, please"}, "has_route"),
    ({"include_synthetic_scenes": True}, "include_synthetic_scenes"),
    ({"token": ["a"]}, "no scene filter of NAVSIM v1 has: token"),
]


@pytest.mark.parametrize(("entries", "message"), BAD)
def test_a_filter_with_impossible_values_is_refused(
    tmp_path: Path, entries: dict[str, Any], message: str
) -> None:
    path = write_filter(tmp_path / "odd.yaml", **entries)
    with pytest.raises(ConfigError, match=message) as caught:
        read_filter("data.filter", path)
    assert "data.filter" in str(caught.value)


def test_what_later_versions_add_may_be_off(tmp_path: Path) -> None:
    path = write_filter(tmp_path / "v2.yaml", include_synthetic_scenes=False)
    assert read_filter("data.filter", path).stride == 1


@pytest.mark.parametrize("content", ["- a list", "just text", "a: [", ""])
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"odd\.yaml"):
        read_filter("data.filter", str(path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.yaml.*No such file"):
        read_filter("data.filter", str(tmp_path / "gone.yaml"))


@pytest.mark.parametrize("entries", [{"num_future_frames": 8}, {"has_route": False}])
def test_a_filter_of_other_windows_than_the_config_is_refused(
    tmp_path: Path, entries: dict[str, Any]
) -> None:
    path = write_filter(tmp_path / "other.yaml", **entries)
    ((name, value),) = entries.items()
    with pytest.raises(ConfigError, match=rf"data\.{name}=") as caught:
        filters_of(DataConfig(filter=path))
    assert f"set data.{name}={str(value).lower()}" in str(caught.value)
    assert filters_of(replace(DataConfig(filter=path), **entries)).main is not None


def test_windows_that_the_config_has_thinned_out_already_are_refused(tmp_path: Path) -> None:
    path = write_filter(tmp_path / "all.yaml", frame_interval=3)
    with pytest.raises(ConfigError, match=r"data\.frame_interval=2"):
        filters_of(DataConfig(filter=path, frame_interval=2))
    assert filters_of(DataConfig(filter=path, frame_interval=3)).main is not None


def lists(tmp_path: Path, **entries: list[str]) -> DataConfig:
    return DataConfig(split="navsim", split_files=[write_yaml(tmp_path / "lists.yaml", **entries)])


def test_lists_may_stand_in_one_file_or_in_three(tmp_path: Path) -> None:
    three = [
        write_yaml(tmp_path / f"{name}.yaml", **{name: [name]})
        for name in ("train_logs", "val_logs", "test_logs")
    ]
    split = filters_of(DataConfig(split="navsim", split_files=three)).lists
    together = lists(
        tmp_path, train_logs=["train_logs"], val_logs=["val_logs"], test_logs=["test_logs"]
    )
    assert split == filters_of(together).lists
    assert split is not None
    assert split.val == {"val_logs"}


def test_a_log_in_two_lists_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"1 logs stand in train_logs and in val_logs, .*`b`"):
        filters_of(lists(tmp_path, train_logs=["a", "b"], val_logs=["b"]))


def test_a_list_of_another_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`trian_logs`"):
        filters_of(lists(tmp_path, trian_logs=["a"]))


def test_the_published_split_needs_lists() -> None:
    with pytest.raises(ConfigError, match="needs lists of logs"):
        filters_of(DataConfig(split="navsim"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"test_filter": "navtest"},
            r"`data\.test_filter` has no meaning with `data.split=random`",
        ),
        ({"split": "navsim", "val_filter": "x"}, r"`data\.val_filter` has no meaning"),
        ({"split": "custom", "filter": "x", "val_filter": "y"}, r"needs `data\.test_filter`"),
        ({"split": "navism"}, "did you mean data.split=navsim"),
        ({"fraction_unit": "scene"}, r"data\.fraction_unit=scene"),
    ],
)
def test_keys_that_would_be_ignored_or_are_missing_are_refused(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        DataConfig(**values)


def test_only_logs_that_are_asked_for_are_read(tmp_path: Path) -> None:
    scenes = write_filter(tmp_path / "f.yaml", log_names=["a", "b"])
    test = write_filter(tmp_path / "t.yaml", log_names=["c"])
    every = write_filter(tmp_path / "e.yaml")
    files = [write_yaml(tmp_path / "l.yaml", train_logs=["a"], val_logs=["b"], test_logs=["d"])]
    listed = DataConfig(split="navsim", split_files=files)
    assert filters_of(DataConfig()).wanted_logs() is None
    assert filters_of(DataConfig(filter=scenes)).wanted_logs() == {"a", "b"}
    assert filters_of(DataConfig(filter=every)).wanted_logs() is None
    assert filters_of(listed).wanted_logs() == {"a", "b", "d"}
    assert filters_of(replace(listed, filter=every, test_filter=test)).wanted_logs() == set("abc")
    assert filters_of(replace(listed, test_filter=every)).wanted_logs() is None
