"""Vocabularies come from training windows alone, repeat, and are what they say they are."""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from experiments import settings
from experiments.data import DataError, datasets
from experiments.settings import DataConfig, ExperimentConfig, HeadConfig
from experiments.vocabulary import FILE_NAME, Vocabulary, build, cluster, load, save
from launcher import identity, resolvers
from launcher.context import RunContext
from launcher.errors import ConfigError
from tests.programs import REPOSITORY
from tests.unit.experiments.data.worlds import small_config

settings.register()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> DataConfig:
    return small_config(tmp_path_factory.mktemp("world"))


def half_of(world: DataConfig) -> DataConfig:
    return replace(world, fraction=0.5, allow_empty_strata=True)


def context(folder: Path, rank: int = 0) -> RunContext:
    return RunContext(run_dir=folder, key="k", name="n", attempt="1", rank=rank)


def experiment(data: DataConfig, **head: Any) -> ExperimentConfig:
    values: dict[str, Any] = {"name": "hydra_mdp", "vocabulary_size": 4}
    return ExperimentConfig(task="vocabulary", data=data, head=HeadConfig(**(values | head)))


def arcs(count: int, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    speed, rate = draw.uniform(0, 15, (count, 1)), draw.normal(0, 0.1, (count, 1))
    seconds = np.arange(1, 9) * 0.5
    poses = [speed * seconds, speed * rate * seconds**2 / 2, rate * seconds]
    return np.stack(poses, axis=-1).astype(np.float32)


def test_only_labelled_training_windows_are_clustered(world: DataConfig, tmp_path: Path) -> None:
    few = half_of(world)
    splits, everything = datasets(few), datasets(world)
    assert 0 < len(splits.train) < len(everything.train)
    human = splits.source.future[splits.train]
    # With as many anchors as windows each of them is its own.
    metrics = build(experiment(few, vocabulary_size=len(human)), context(tmp_path))
    built = load(tmp_path / FILE_NAME)
    apart = np.abs(built.anchors[:, None] - human[None]).max(axis=(2, 3))
    np.testing.assert_allclose(apart.min(axis=0), 0.0, atol=1e-4)
    np.testing.assert_allclose(apart.min(axis=1), 0.0, atol=1e-4)
    assert built.tokens_sha256 == metrics["train_tokens_sha256"] == splits.train_tokens_sha256
    assert metrics["vocabulary_sha256"] == built.sha256
    assert metrics["vocabulary_error_m"] == pytest.approx(0.0, abs=1e-4)


def test_all_training_windows_are_clustered_if_asked_and_no_others(
    world: DataConfig, tmp_path: Path
) -> None:
    config = experiment(half_of(world), vocabulary_of="all")
    metrics = build(config, context(tmp_path))
    assert metrics["train_tokens_sha256"] == datasets(world).train_tokens_sha256
    assert metrics["vocabulary_size"] == len(load(tmp_path / FILE_NAME)) == 4
    assert metrics["vocabulary_error_m"] > 0.0


def test_too_few_labelled_windows_are_refused(world: DataConfig, tmp_path: Path) -> None:
    few = half_of(world)
    num_windows = len(datasets(few).train)
    with pytest.raises(ConfigError) as refused:
        build(experiment(few, vocabulary_size=64), context(tmp_path))
    assert "`head.vocabulary_size=64` anchors cannot be clustered" in refused.value.message
    assert f"from {num_windows} labelled (data.fraction=0.5) windows" in refused.value.message
    assert f"take head.vocabulary_size={num_windows} or less" in str(refused.value.hint)
    assert list(tmp_path.iterdir()) == []


def test_other_ranks_leave_the_work_to_the_first(world: DataConfig, tmp_path: Path) -> None:
    assert build(experiment(world), context(tmp_path, rank=1)) == {}
    assert list(tmp_path.iterdir()) == []


def test_the_same_seed_gives_the_same_anchors() -> None:
    human = arcs(300)
    first, _ = cluster(human, 16, seed=0)
    second, _ = cluster(human, 16, seed=0)
    other, _ = cluster(human, 16, seed=1)
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)
    assert (first.dtype, first.shape) == (np.float32, (16, 8, 3))


def test_more_anchors_are_closer() -> None:
    human = arcs(300)
    errors = []
    for size in (4, 16, 64):
        anchors, nearest = cluster(human, size, seed=0)
        errors.append(np.linalg.norm((human - anchors[nearest])[..., :2], axis=-1).mean())
    assert errors[0] > 1.5 * errors[1] > 2.0 * errors[2]


def test_a_radian_counts_as_five_metres() -> None:
    human = np.zeros((4, 8, 3), np.float32)
    human[1, :, 0] = 2.0
    human[2:, :, 2] = 1.0
    human[3, :, 0] = 2.0
    anchors, _ = cluster(human, 2, seed=0)
    assert sorted(anchors[:, -1, 2].tolist()) == pytest.approx([0.0, 1.0])
    np.testing.assert_allclose(anchors[..., 0], 1.0)


def test_turns_to_either_side_of_pi_do_not_average_to_straight_on() -> None:
    human = np.zeros((4, 8, 3), np.float32)
    human[:, :, 2] = np.linspace(0.4, 3.1, 8)
    human[:2, -1, 2] = -3.1
    human[:2, -1, 0] = 0.001
    human[2:, :, 0] = 50.0
    human[3, -1, 2] = -3.1
    anchors, _ = cluster(human, 2, seed=0)
    assert np.abs(anchors[:, -1, 2]).min() > 3.0
    assert (anchors[..., 2] >= -np.pi).all()
    assert (anchors[..., 2] < np.pi).all()


def kept(tmp_path: Path) -> Path:
    save(tmp_path / FILE_NAME, Vocabulary(arcs(8), "abc"))
    return tmp_path / FILE_NAME


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    loaded = load(kept(tmp_path))
    assert np.array_equal(loaded.anchors, arcs(8))
    assert loaded.tokens_sha256 == "abc"
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def change_anchors(path: Path) -> None:
    with np.load(path) as file:
        content = dict(file)
    content["anchors"] = content["anchors"] + np.float32(1.0)
    np.savez(path, **content)


def widen(path: Path) -> None:
    np.savez(path, anchors=np.zeros((8, 40, 3), np.float32), tokens_sha256="", sha256="")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (Path.unlink, "there is no vocabulary at"),
        (lambda path: path.write_bytes(path.read_bytes()[:300]), "holds no whole vocabulary"),
        (lambda path: path.write_bytes(b""), "holds no whole vocabulary"),
        (lambda path: np.savez(path, anchors=arcs(8)), "holds no whole vocabulary"),
        (change_anchors, "but were written with"),
        (widen, r"float32 \(8, 40, 3\), not float32 \(V, 8, 3\)"),
    ],
    ids=["missing", "torn", "empty", "partial", "changed", "40 poses"],
)
def test_a_damaged_vocabulary_is_refused(
    damage: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    path = kept(tmp_path)
    damage(path)
    with pytest.raises(DataError, match=message):
        load(path)


def required(*overrides: str) -> tuple[str, dict[str, Any]]:
    """Return the key of the vocabulary that a run requires, and what is in the key."""
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        config = compose("config", [*overrides, "task=vocabulary"], return_hydra_config=True)
    excluded = resolvers.key_exclude(config)
    plain = identity.science(config, excluded)
    assert not any(config.requires.values())
    return identity.key_of(plain), plain


def test_one_vocabulary_serves_all_backbones_heads_and_seeds_of_equal_size() -> None:
    key, kept = required("head=hydra_mdp")
    assert set(kept["head"]) == {"vocabulary_size", "vocabulary_of", "vocabulary_seed"}
    for others in (
        ["head=hydra_mdp", "backbone=ijepa", "trainer.seed=1", "head.rule=additive"],
        ["head=diffusion", "head.vocabulary_size=64", "finetune=full", "optimizer=adam"],
    ):
        assert required(*others)[0] == key
    for others in (
        ["head=diffusion"],
        ["head=hydra_mdp", "data.fraction=0.5"],
        ["head=hydra_mdp", "data.subset_seed=1"],
    ):
        assert required(*others)[0] != key


@pytest.mark.parametrize(("head", "anchors"), [("hydra_mdp", 64), ("diffusion", 16)])
def test_heads_with_anchors_require_a_vocabulary(head: str, anchors: int) -> None:
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        config = compose("config", [f"head={head}"])
        without = compose("config", ["head=mlp"])
    assert config.requires.vocabulary == ["task=vocabulary"]
    assert config.head.vocabulary_size == anchors
    assert "vocabulary" not in without.requires


def test_every_value_of_a_head_is_in_the_key_of_its_vocabulary_or_left_out_by_name() -> None:
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        excluded = set(compose("config", ["task=vocabulary"]).identity.exclude)
    names = {field.name for field in fields(HeadConfig)}
    left_out = {key.removeprefix("head.") for key in excluded if key.startswith("head.")}
    assert names - left_out == {"vocabulary_size", "vocabulary_of", "vocabulary_seed"}
    assert left_out <= names
