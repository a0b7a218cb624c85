"""Caches that NAVSIM has written, read as training data; what they say is checked, not trusted."""

from __future__ import annotations

import gzip
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments.data import DataError, Sensor, datasets
from experiments.data.dataset import PlanningDataset
from experiments.data.navsim_cache import FEATURES, TARGETS, NavsimCacheSource
from experiments.data.openscene import OpenSceneSource
from experiments.data.source import SENSORS, STATUS
from experiments.data.tensors import read_tensors
from experiments.settings import COMMANDS, DataConfig
from launcher.errors import ConfigError
from tests.unit.experiments.data.navsim_layout import dump, tokens_of, write_cache, write_filter
from tests.unit.experiments.data.worlds import copy_logs, open_copy

BOTH: frozenset[Sensor] = frozenset(SENSORS)
SHARES = {"val_share": 0.25, "test_share": 0.25}


@pytest.fixture(scope="module")
def whole(small_world: DataConfig, tmp_path_factory: pytest.TempPathFactory) -> DataConfig:
    """All windows of four logs, cached. Read only."""
    folder = tmp_path_factory.mktemp("cache") / "data"
    logs = replace(copy_logs(small_world, folder, num_logs=4), **SHARES)  # type: ignore[arg-type]
    source = open_copy(logs)
    return write_cache(logs, source, range(len(source.index)))


@pytest.fixture
def cached(whole: DataConfig, tmp_path: Path) -> DataConfig:
    """A copy of it that may be damaged."""
    return replace(whole, root=str(shutil.copytree(whole.root, tmp_path / "cached")))


def plain(config: DataConfig) -> OpenSceneSource:
    """The same logs, read directly."""
    return open_copy(replace(config, source="openscene"))


def source_of(config: DataConfig) -> NavsimCacheSource:
    source = datasets(config).source
    assert isinstance(source, NavsimCacheSource)
    return source


def edited(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Change the tensors of a file of the cache."""
    with gzip.open(path) as file:
        table = pickle.loads(file.read())
    edit(table)
    dump(path, table)


def test_sensors_come_back_as_they_were_cached(whole: DataConfig) -> None:
    source, direct = source_of(whole), plain(whole)
    for i in (0, 5, 11):
        ours, theirs = source.load(i, BOTH), direct.load(i, BOTH)
        assert ours.image is not None
        assert theirs.image is not None
        np.testing.assert_array_equal(ours.image, theirs.image)
        assert ours.image.dtype == np.uint8
        np.testing.assert_array_equal(ours.lidar, theirs.lidar)  # type: ignore[arg-type]
        assert (ours.token, ours.command, ours.city) == (theirs.token, theirs.command, theirs.city)


def test_order_and_splits_are_those_of_the_logs(whole: DataConfig) -> None:
    for change in ({}, {"fraction": 0.5, "allow_empty_strata": True}):
        ours = datasets(replace(whole, **change))  # type: ignore[arg-type]
        theirs = datasets(replace(whole, source="openscene", **change))  # type: ignore[arg-type]
        assert ours.summary() == theirs.summary()
        for name in ("train", "val", "test"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
        assert tokens_of(ours.source) == tokens_of(theirs.source)  # type: ignore[arg-type]


def test_batches_are_those_of_the_logs(whole: DataConfig) -> None:
    ours, theirs = (
        PlanningDataset(split.source, split.train, SENSORS)
        for split in (datasets(whole), datasets(replace(whole, source="openscene")))
    )
    for n in range(len(ours)):
        for key, value in ours[n].items():
            assert torch.equal(value, theirs[n][key]), key


def test_targets_come_from_the_cache(whole: DataConfig) -> None:
    source = source_of(whole)
    with gzip.open(source.files_of(4)[1]) as file:
        table = pickle.loads(file.read())
    targets = source.targets(4, {"agents", "bev_semantics"})
    np.testing.assert_array_equal(targets["agent_states"], table["agent_states"].numpy())
    np.testing.assert_array_equal(targets["agent_labels"], table["agent_labels"].numpy())
    np.testing.assert_array_equal(targets["bev_semantics"], table["bev_semantic_map"].numpy())
    kinds = {name: (array.dtype.name, array.shape) for name, array in targets.items()}
    assert kinds == {
        "agent_states": ("float32", (30, 5)),
        "agent_labels": ("bool", (30,)),
        "bev_semantics": ("uint8", (32, 64)),
    }
    assert set(source.targets(4, {"agents"})) == {"agent_states", "agent_labels"}


def test_batches_hold_cached_targets_and_need_no_maps(cached: DataConfig) -> None:
    shutil.rmtree(Path(cached.root) / "maps")
    split = datasets(cached)
    dataset = PlanningDataset(split.source, split.train, ["image"], targets=["bev_semantics"])
    classes = split.source.targets(int(split.train[1]), ["bev_semantics"])["bev_semantics"]
    assert torch.equal(dataset[1]["bev_semantics"], torch.from_numpy(classes))


def test_pretraining_sees_current_frames_only(whole: DataConfig) -> None:
    split = datasets(whole)
    assert split.train_frames.tolist() == split.source.index.frame[split.train].tolist()
    assert split.source.image(int(split.train_frames[0])).shape == (3, 32, 128)


def test_trap_the_token_list_counts_not_the_folders(cached: DataConfig, tmp_path: Path) -> None:
    """The cache-only loader of NAVSIM trains on whatever the folders of the logs hold."""
    tokens = tokens_of(plain(cached))
    path = write_filter(tmp_path / "f.yaml", tokens=tokens[::3])
    split = datasets(replace(cached, filter=path))
    parts = np.concatenate([split.train, split.val, split.test])
    taken = sorted(split.source.index.token[i].decode() for i in parts)
    assert taken == sorted(tokens[::3])
    tenth = datasets(replace(cached, filter=path, fraction=0.5, allow_empty_strata=True))
    assert len(tenth.train) == 1
    assert len(split.train) == 2


def test_tokens_that_nobody_asks_for_need_not_be_cached(cached: DataConfig, tmp_path: Path) -> None:
    tokens = tokens_of(plain(cached))
    for folder in (Path(cached.root) / "training_cache").glob("*/*"):
        if folder.name in tokens[1::3]:
            shutil.rmtree(folder)
    path = write_filter(tmp_path / "f.yaml", tokens=tokens[::3])
    assert len(datasets(replace(cached, filter=path)).train) == 2


def test_tokens_that_are_not_cached_are_counted_and_named(cached: DataConfig) -> None:
    tokens = tokens_of(plain(cached))
    for folder in (Path(cached.root) / "training_cache").glob("*/*"):
        if folder.name in tokens[2:6]:
            shutil.rmtree(folder)
    with pytest.raises(DataError, match="4 of 12 windows are not in the cache") as caught:
        datasets(cached)
    assert sum(token in str(caught.value) for token in tokens[2:6]) == 3


def test_trap_the_trajectory_is_local_already(whole: DataConfig, cached: DataConfig) -> None:
    """Moving it into the ego frame once more is a bug of public agents; so are global poses."""
    source, direct = source_of(whole), plain(whole)
    np.testing.assert_array_equal(source.future, direct.future)
    assert np.abs(source.future[:, 0, :2]).max() < 20.0
    damaged = source_of(cached)
    path = damaged.files_of(0)[1]
    edited(path, lambda table: table["trajectory"].add_(torch.from_numpy(damaged.pose[0].copy())))
    with pytest.raises(DataError, match=r"trajectory in .* is not what the logs say"):
        damaged.targets(0, {"agents"})


def test_trap_the_status_of_another_agent_is_in_another_order(cached: DataConfig) -> None:
    """EgoStatusMLP has velocity, acceleration, command; TransFuser has the command first."""
    source = source_of(cached)
    status = source.status[0]
    assert COMMANDS[int(status[STATUS["command"]].argmax())] == source.load(0, frozenset()).command
    path = source.files_of(0)[0]
    edited(path, lambda table: table.update(status_feature=table["status_feature"].roll(4)))
    with pytest.raises(DataError, match="does not begin with a one-hot command"):
        source.load(0, BOTH)


def test_a_cache_of_other_logs_is_noticed(cached: DataConfig) -> None:
    source = source_of(cached)
    path = source.files_of(0)[0]
    edited(path, lambda table: table["status_feature"][4:].add_(1.0))
    with pytest.raises(DataError, match=r"status_feature in .*\(off by 1\)"):
        source.load(0, BOTH)


FEATURE_DAMAGES: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda t: t.update(camera_feature=t["camera_feature"][:, :16]), r"\(3, 16, 128\), not"),
    (lambda t: t.update(lidar_feature=t["lidar_feature"][:, 1:]), r"\(1, 63, 64\), not"),
    (lambda t: t.update(status_feature=t["status_feature"][:7]), r"\(7,\), not \(8,\)"),
    (lambda t: t["lidar_feature"].mul_(float("nan")), "lidar_feature .* not of finite numbers"),
    (lambda t: t["camera_feature"].sub_(0.5), r"not in 0\.\.1"),
    (lambda t: t.pop("camera_feature"), "has no camera_feature; it has"),
    (lambda t: t.pop("lidar_feature"), "holds no lidar_feature"),
    (lambda t: t.update(camera_feature=["a"]), "is a list, not a tensor"),
]


@pytest.mark.parametrize(("damage", "message"), FEATURE_DAMAGES)
def test_features_of_another_form_are_refused(
    cached: DataConfig, damage: Callable[[dict[str, Any]], object], message: str
) -> None:
    source = source_of(cached)
    edited(source.files_of(0)[0], damage)
    with pytest.raises(DataError, match=message) as caught:
        source.load(0, BOTH)
    assert tokens_of(source)[0] in str(caught.value)


TARGET_DAMAGES: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda t: t["trajectory"].mul_(float("nan")), "trajectory .* not of finite numbers"),
    (lambda t: t.update(trajectory=t["trajectory"][:6]), r"\(6, 3\), not \(8, 3\)"),
    (lambda t: t["agent_states"].mul_(float("inf")), "agent_states .* not of finite numbers"),
    (lambda t: t["bev_semantic_map"].add_(1.0), r"classes beyond 0\.\.6"),
    (lambda t: t["bev_semantic_map"].add_(0.5), r"classes beyond 0\.\.6"),
    (lambda t: t.pop("agent_labels"), "has no agent_labels"),
]


@pytest.mark.parametrize(("damage", "message"), TARGET_DAMAGES)
def test_targets_of_another_form_are_refused(
    cached: DataConfig, damage: Callable[[dict[str, Any]], object], message: str
) -> None:
    source = source_of(cached)
    edited(source.files_of(0)[1], damage)
    with pytest.raises(DataError, match=message):
        source.targets(0, {"agents", "bev_semantics"})


def test_latent_caches_serve_images(cached: DataConfig) -> None:
    source = source_of(cached)
    edited(source.files_of(0)[0], lambda table: table.pop("lidar_feature"))
    assert source.load(0, frozenset({"image"})).image is not None


@pytest.mark.parametrize("name", [FEATURES, TARGETS])
def test_a_missing_file_is_named(cached: DataConfig, name: str) -> None:
    source = source_of(cached)
    path = next(path for path in source.files_of(0) if path.name == name)
    path.unlink()
    with pytest.raises(DataError, match=f"{tokens_of(source)[0]}/{name}` is missing"):
        source.load(0, BOTH) if name == FEATURES else source.targets(0, {"agents"})


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('code of a cache was run')",)


def hidden(value: Any) -> bytes:
    """A pickle whose evil lies in the bytes of a tensor's storage."""
    from torch.storage import _load_from_bytes  # type: ignore[attr-defined]

    class Storage:
        def __reduce__(self) -> tuple[Any, ...]:
            return _load_from_bytes, (pickle.dumps(value, protocol=2),)

    return pickle.dumps({"camera_feature": Storage()})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps({"a": Evil()}), r"builtins\.exec"),
        (hidden(Evil()), "torn or no such file"),
        (pickle.dumps([1]), "not a table"),
        (b"\x80\x04", "torn"),
        (b"", "torn"),
    ],
)
def test_a_cache_cannot_run_code(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "odd.gz"
    path.write_bytes(gzip.compress(content))
    with pytest.raises(DataError, match=rf"odd\.gz.*{message}|{message}.*odd\.gz"):
        read_tensors(path)


@pytest.mark.parametrize("keep", [0, 5, 200, -8])
def test_a_torn_file_is_named(cached: DataConfig, keep: int) -> None:
    source = source_of(cached)
    path = source.files_of(0)[0]
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"transfuser_feature\.gz` are torn"):
        source.load(0, BOTH)


def test_arrays_instead_of_tensors_are_read(tmp_path: Path) -> None:
    table = {"a": np.arange(6.0).reshape(2, 3), "b": torch.arange(3)[1:]}
    dump(tmp_path / "t.gz", table)
    read = read_tensors(tmp_path / "t.gz")
    np.testing.assert_array_equal(read["a"], table["a"])
    np.testing.assert_array_equal(read["b"], [1, 2])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"training_cache": "/nowhere"}, r"data\.training_cache=/nowhere"),
        ({"cameras": ["CAM_F0"]}, "panorama of three cameras"),
        ({"decode": "scaled"}, "panorama of three cameras"),
        ({"logs": "/nowhere"}, r"data\.logs=/nowhere"),
    ],
)
def test_what_no_cache_can_be_is_refused(
    whole: DataConfig, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        datasets(replace(whole, **values))


def test_sensor_blobs_are_not_needed(cached: DataConfig) -> None:
    shutil.rmtree(Path(cached.root) / "sensor_blobs")
    split = datasets(cached)
    assert split.source.load(int(split.train[0]), BOTH).image is not None
