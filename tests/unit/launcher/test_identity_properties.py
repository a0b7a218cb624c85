"""Our own conf/: what keeps the key of a run, and what gives another. Names tell runs apart."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hypothesis import example, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from omegaconf import DictConfig

from experiments import settings
from launcher import identity, resolvers, snapshot
from launcher.hydra_config import shared_store
from tests.programs import REPOSITORY

settings.register()
CONF = REPOSITORY / "conf"
SLOW = examples(deadline=None, max_examples=20)


def composed(*overrides: str, conf: Path = CONF) -> DictConfig:
    with shared_store(), initialize_config_dir(str(conf), version_base="1.3"):
        return compose("config", list(overrides), return_hydra_config=True)


def key(*overrides: str, conf: Path = CONF) -> str:
    return resolvers.key_of(composed(*overrides, conf=conf))


@functools.cache
def defaults() -> dict[str, Any]:
    """Value of every leaf that counts for the key, by dotted name."""
    config = composed()
    return dict(_leaves(identity.science(config, resolvers.key_exclude(config))))


def _leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def as_override(name: str, value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"{name}=[{','.join(map(str, value))}]"
    return f"{name}={value if isinstance(value, str) else json.dumps(value)}"


CHOICES = {
    "backbone": ("transfuser", "ijepa"),
    "scale": ("tiny", "paper"),
    "finetune": ("full", "frozen"),
    "optimizer": ("adam", "adamw"),
    "task": ("train", "evaluate", "pretrain"),
}
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "backbone.fusion_layers": st.integers(1, 50),
    "backbone.stage_channels": st.lists(st.integers(1, 99), min_size=1, max_size=4),
    "backbone.pretrain.seed": st.integers(0, 10**6),
    "optimizer.lr": st.floats(1e-9, 1.0),
    "optimizer.weight_decay": st.floats(0.0, 1.0),
    "optimizer.warmup_steps": st.integers(0, 10**6),
    "head.hidden_dim": st.integers(1, 10**6),
    "head.dropout": st.floats(0.0, 0.9),
    "data.fraction": st.floats(0.01, 1.0),
    "data.subset_seed": st.integers(0, 10**6),
    "data.split_seed": st.integers(0, 10**6),
    "data.synthetic.seed": st.integers(0, 10**6),
    "data.image_hw": st.tuples(st.integers(1, 999), st.integers(1, 999)),
    "trainer.seed": st.integers(0, 10**6),
    "trainer.max_steps": st.integers(1, 10**6),
    "trainer.batch_size": st.integers(1, 10**6),
    "trainer.precision": st.sampled_from(["32-true", "16-mixed", "bf16-mixed"]),
    "trainer.deterministic": st.booleans(),
}
NO_SCIENCE = [
    *(f"resources={name}" for name in ("cpu", "gpu1", "gpu4", "gpu16")),
    *(f"cluster={name}" for name in ("local", "l40s", "h200", "slurm_example")),
    "resources.timeout_min=7",
    "resources.mem_gb=1.5",
    "cluster.partition=other",
    "paths.output_dir=elsewhere",
    "paths.data_dir=elsewhere",
    "data.root=elsewhere",
    "data.num_workers=3",
    "data.cache_decoded=false",
    "data.decoded_dir=elsewhere",
    "trainer.log_every_steps=1",
    "trainer.cuda_graphs=false",
    "dry_run=true",
    "show_script=true",
    "failed=retry",
    "failed=keep",
    "force=true",
    "wait=true",
    "wait=false",
    "yes=true",
    "unwanted=cancel",
    "hydra/launcher=slurm",
    "hydra/launcher=debug",
    "hydra.launcher.study=named",
    "hydra.launcher.report=null",
    "hydra.job.chdir=true",
]
some_science = st.dictionaries(st.sampled_from(sorted(VALUES)), st.none(), max_size=5).flatmap(
    lambda names: st.fixed_dictionaries({name: VALUES[name] for name in names})
)


@SLOW
@given(some_science, st.sampled_from(CHOICES["optimizer"]), st.randoms(use_true_random=False))
def test_the_order_of_overrides_keeps_the_key(
    science: dict[str, Any], optimizer: str, random: Any
) -> None:
    overrides = [f"optimizer={optimizer}", *(as_override(*item) for item in science.items())]
    shuffled = random.sample(overrides, k=len(overrides))
    assert key(*overrides) == key(*shuffled)


@SLOW
@given(st.data())
def test_a_default_made_explicit_keeps_the_key(data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from(sorted(defaults())), min_size=1, unique=True))
    assert key(*(as_override(name, defaults()[name]) for name in names)) == key()


@pytest.mark.parametrize(
    "chosen",
    ["scale=tiny", "backbone=transfuser", "task=train", "optimizer=adam", "finetune=full"],
)
def test_a_default_choice_made_explicit_keeps_the_key(chosen: str) -> None:
    assert key(chosen) == key()


@SLOW
@given(st.lists(st.sampled_from(NO_SCIENCE), unique_by=lambda o: o.split("=")[0], max_size=8))
@example(overrides=["resources=gpu16", "cluster=l40s", "hydra/launcher=slurm"])
def test_hardware_paths_and_switches_keep_the_key(overrides: list[str]) -> None:
    assert key(*overrides) == key()


@pytest.mark.parametrize("override", NO_SCIENCE)
def test_each_of_them_alone_keeps_the_key_of_a_run_that_is_not_the_default(override: str) -> None:
    science = ("backbone=ijepa", "data.fraction=0.1")
    assert key(*science, override) == key(*science)


@pytest.mark.parametrize("flow", [None, True], ids=["block_style", "flow_style"])
def test_other_formatting_and_order_of_keys_in_the_files_keep_the_key(
    flow: bool | None, tmp_path: Path
) -> None:
    for path in CONF.rglob("*.yaml"):
        text = path.read_text()
        header = "".join(line + "\n" for line in text.splitlines() if line.startswith("# @package"))
        written = yaml.safe_dump(
            _backwards(yaml.safe_load(text)), sort_keys=False, default_flow_style=flow, indent=7
        )
        copy = tmp_path / path.relative_to(CONF)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(f"{header}# another comment\n\n{written}")
    for overrides in ((), ("backbone=ijepa", "scale=paper"), ("task=pretrain", "backbone=ijepa")):
        assert key(*overrides, conf=tmp_path) == key(*overrides)


def _backwards(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _backwards(inner) for name, inner in reversed(value.items())}
    return value


def test_another_value_in_a_file_gives_another_key(tmp_path: Path) -> None:
    for path in CONF.rglob("*.yaml"):
        copy = tmp_path / path.relative_to(CONF)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text().replace("hidden_dim: 128", "hidden_dim: 129"))
    assert key(conf=tmp_path) != key()


@SLOW
@given(some_science, some_science)
@example(first={}, second={"trainer.seed": 1})
@example(first={}, second={"data.fraction": 0.5})
@example(first={"data.subset_seed": 1}, second={"data.split_seed": 1})
@example(first={"optimizer.lr": 1e-3}, second={"optimizer.lr": 1.0000000000000002e-3})
def test_two_runs_share_a_key_exactly_if_all_their_science_is_the_same(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    assert (key(*_written(first)) == key(*_written(second))) == (_whole(first) == _whole(second))


def _written(science: dict[str, Any]) -> list[str]:
    return [as_override(name, value) for name, value in science.items()]


def _whole(science: dict[str, Any]) -> dict[str, Any]:
    lists = {n: list(v) if isinstance(v, tuple) else v for n, v in science.items()}
    return {**defaults(), **lists}


def test_each_choice_of_a_group_gives_another_key() -> None:
    for group, names in CHOICES.items():
        assert len({key(f"{group}={name}") for name in names}) == len(names), group


def test_the_order_in_which_keys_are_added_keeps_the_key() -> None:
    added = ["+requires.b=['task=train']", "+requires.a=['task=pretrain']"]
    assert key(*added) == key(*reversed(added)) != key()


def test_a_size_that_only_feeds_others_counts_where_it_arrives_and_nowhere_else() -> None:
    assert key("scale.ijepa.depth=9") == key()
    assert key("backbone=ijepa", "scale.ijepa.depth=9") != key("backbone=ijepa")
    assert key("backbone=ijepa", "scale.ijepa.depth=9") == key("backbone=ijepa", "backbone.depth=9")


def test_what_comes_after_pretraining_keeps_the_key_of_a_pretraining() -> None:
    base = ("task=pretrain", "backbone=ijepa")
    for override in ("data.fraction=0.1", "head.hidden_dim=9", "optimizer=adam", "trainer.seed=5"):
        assert key(*base, override) == key(*base), override
    for override in ("data.split_seed=1", "backbone.pretrain.lr=0.5", "backbone.depth=1"):
        assert key(*base, override) != key(*base), override


def test_the_code_counts_for_the_key_only_where_it_is_asked_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def keys(sha: str) -> tuple[str, str]:
        monkeypatch.setattr(snapshot, "current", lambda: SimpleNamespace(sha=sha))
        return key(), key("hydra.launcher.key_code=true")

    (plain, with_code), (plain_later, with_code_later) = keys("aaaa"), keys("bbbb")
    assert plain == plain_later
    assert len({plain, with_code, with_code_later}) == 3
    assert keys("aaaa") == (plain, with_code)


NAMES = ["lr", "head.lr", "train.lr", "backbone", "+extra", "extra", "opt@head.opt", "a/b", "c.b"]
words = st.text("ab01.[]'", max_size=3)
runs = st.lists(
    st.dictionaries(st.sampled_from(NAMES), words, max_size=5), min_size=1, max_size=6
).map(lambda found: [[f"{name}={value}" for name, value in run.items()] for run in found])


@given(runs)
def test_runs_have_the_same_name_exactly_if_they_have_the_same_overrides(
    overrides: list[list[str]],
) -> None:
    names = identity.short_names(overrides)
    for i, one in enumerate(overrides):
        for j, other in enumerate(overrides):
            assert (names[i] == names[j]) == (set(one) == set(other))


@given(runs)
def test_only_keys_in_which_runs_differ_appear_in_names(overrides: list[list[str]]) -> None:
    everywhere = set.intersection(*(set(run) for run in overrides))
    differing = identity.differences(overrides)
    for run, shown in zip(overrides, differing, strict=True):
        assert len(shown) == len(set(run) - everywhere)
        assert sorted(shown.values()) == sorted(o.split("=", 1)[1] for o in set(run) - everywhere)


@given(runs, st.sampled_from(["shared.thing=1", "+lr2=x", "group=choice"]))
def test_an_override_that_all_runs_have_changes_no_name(
    overrides: Sequence[list[str]], common: str
) -> None:
    with_common = [[common, *run] for run in overrides]
    assert identity.short_names(with_common) == identity.short_names(overrides)
    assert identity.shared(with_common)[0] == common
