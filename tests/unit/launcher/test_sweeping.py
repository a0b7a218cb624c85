"""Configs that we compose ourselves are those that Hydra composes, in every part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hydra.errors import HydraException
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from launcher.hydra_config import shared_store
from launcher.sweeping import SweepConfigs
from tests.programs import PLAIN_PROJECT
from tests.unit.composing import OURS, prepared

PLAIN = PLAIN_PROJECT / "conf"


@contextmanager
def sweep(conf: Path, *command: str) -> Iterator[tuple[Any, DictConfig]]:
    """The config loader and the master config of one Hydra command."""
    with shared_store():
        yield prepared(conf, *command)


def everything(config: DictConfig) -> dict[str, Any]:
    return {
        "values": OmegaConf.to_container(config, resolve=False),
        "flags": [config._get_flag(name) for name in ("struct", "readonly")],
        "hydra_flags": [config.hydra._get_flag(name) for name in ("struct", "readonly")],
        "types": {str(key): _type(config._get_node(key)) for key in config},
    }


def _type(node: Any) -> tuple[Any, ...]:
    return (type(node), node._metadata.ref_type, node._metadata.object_type)


def assert_same(conf: Path, runs: Sequence[Sequence[str]], *command: str) -> SweepConfigs:
    """Each run twice: its choice of groups is composed by Hydra first, and then by us."""
    with sweep(conf, *command) as (loader, master):
        ours = SweepConfigs(loader, master)
        expected = [everything(loader.load_sweep_config(master, list(run))) for run in runs]
        for run, whole in zip([*runs, *runs], [*expected, *expected], strict=True):
            assert everything(ours.compose(run)) == whole, run
    return ours


def is_laid(ours: SweepConfigs) -> bool:
    """Whether every choice was such that we lay values over it."""
    return bool(ours._bases) and all(base is not None for base in ours._bases.values())


VALUES = [
    ["data.fraction=0.1"],
    ["data.fraction=0.5", "trainer.seed=3"],
    ["trainer.seed=4", "data.fraction=0.5"],
    ["optimizer.lr=1e-5", "head.hidden_dim=7"],
    ["paths.output_dir=some/where", "trainer.precision=bf16-mixed"],
    ["failed=null"],
    ["data.logs='a b,c'"],
]


def test_values_are_laid_over_one_composed_config() -> None:
    ours = assert_same(OURS, VALUES)
    assert is_laid(ours)
    assert len(ours._bases) == 1


RUNS = [
    ["backbone=ijepa", "data.fraction=0.1"],
    ["data.fraction=0.1", "scale=paper", "backbone=ijepa", "optimizer=adamw"],
    ["backbone=ijepa", "backbone.depth=2"],
    ["backbone.depth=2", "backbone=ijepa"],
    ["task=pretrain", "backbone=ijepa", "backbone.pretrain.steps=7"],
    ["resources=gpu4", "cluster=h200", "resources.timeout_min=3"],
    ["optimizer=adamw", "optimizer.lr=0.5"],
    ["optimizer=adamw"],
    [],
    # lists and mappings
    ["data.image_hw=[16,32]"],
    ["backbone.stage_channels=[1,2,3]", "head.pool_hw=[1,1]"],
    ["+requires.extra=['task=train','a=b']", "trainer.seed=1"],
    ["requires={}", "trainer.seed=1"],
    # additions and deletions
    ["+scale.new=1", "trainer.seed=1"],
    ["++trainer.seed=9", "++scale.new=2"],
    ["+scale.deep.er={a:1,b:[2]}"],
    ["~scale.head.hidden_dim"],
    ["~scale.head.hidden_dim=128", "trainer.seed=1"],
    ["~requires", "trainer.seed=1"],
    ["~study", "trainer.seed=1"],
    ["study=label_efficiency", "trainer.seed=1"],
    # packages
    ["+optimizer@backbone.optimizer=adamw", "trainer.seed=1"],
    ["+optimizer@scale.second=adam", "scale.second.name=other"],
    ["+head@scale.head2=mlp", "+scale.head2.dropout=0.5"],
    # interpolations
    ["optimizer.lr=${scale.trainer.lr}"],
    ["trainer.seed=${data.subset_seed}", "data.subset_seed=4"],
    ["paths.output_dir=${hydra:job.name}", "trainer.seed=1"],
    ["data.root=${oc.env:HOME,nowhere}"],
    ["data.root='${paths.data_dir}/${data.fraction}'", "data.fraction=0.25"],
    # of Hydra itself
    ["hydra.job.chdir=true", "trainer.seed=1"],
    ["hydra.launcher.study=named", "trainer.seed=1"],
    ["hydra.job.config.override_dirname.kv_sep=:", "trainer.seed=1"],
    ["+hydra.launcher.additional_parameters.hold=true"],
    ["hydra/launcher=slurm", "trainer.seed=1"],
    # odd text
    ["data.root=''", "trainer.seed=1"],
    ["data.root='a=b'", 'data.logs="it\'s"'],
    ["data.root=\\,", "trainer.seed=1"],
    ["data.logs=null", "trainer.deterministic=off"],
    ["trainer.seed=1", "trainer.seed=2"],
]


def test_a_run_knows_its_own_overrides_in_the_order_in_which_they_were_given() -> None:
    with sweep(OURS) as (loader, master):
        ours = SweepConfigs(loader, master)
        for seed in (1, 2):
            run = [f"trainer.seed={seed}", "backbone=ijepa", "data.fraction=0.1"]
            config = ours.compose(run)
            # Hydra sorts in the name of a folder, and in nothing else.
            name = f"backbone=ijepa,data.fraction=0.1,trainer.seed={seed}"
            assert config.hydra.job.override_dirname == name
            assert list(config.hydra.overrides.task) == run
            assert config.hydra.runtime.choices["backbone"] == "ijepa"
    assert is_laid(ours)


@pytest.mark.parametrize("run", RUNS, ids=" ".join)
def test_a_run_of_our_conf_is_composed_as_hydra_composes_it(
    run: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "home")
    assert_same(OURS, [run])


@pytest.mark.parametrize(
    "run",
    [
        ["x=2"],
        ["x=3", "fail=3"],
        ["x=${fail}", "fail=1"],
        ["+y=1"],
        ["+y.z=[1,2]", "x=2"],
        ["~x"],
        ["~x", "fail=2"],
        ["x={a:1}"],
        ["x='${hydra:job.num}'"],
        ["hydra.job.chdir=true", "x=2"],
        ["hydra/launcher=local", "x=2"],
        ["hydra/job_logging=disabled", "x=2"],
        ["x=text with spaces"],
        [],
    ],
    ids=" ".join,
)
def test_a_run_of_a_plain_project_is_composed_as_hydra_composes_it(run: list[str]) -> None:
    assert_same(PLAIN, [run])


def test_all_of_them_in_one_sweep_do_not_disturb_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", "home")
    assert_same(OURS, [*VALUES, *RUNS[::2], *reversed(VALUES)])


@pytest.mark.parametrize(
    "command",
    [
        ["data.fraction=0.3", "scale=paper"],
        ["hydra/launcher=slurm", "cluster=l40s"],
        ["study=label_efficiency"],
        ["+scale.new=1", "~requires"],
        ["hydra.job.config.override_dirname.kv_sep=:"],
        ["hydra.job.config.override_dirname.item_sep=+"],
        ["hydra.job.config.override_dirname.exclude_keys=[trainer.seed]"],
    ],
    ids=" ".join,
)
def test_what_the_command_fixes_for_all_runs_counts_as_it_does_with_hydra(
    command: list[str],
) -> None:
    runs = [["trainer.seed=1"], ["trainer.seed=2", "data.subset_seed=3"], ["backbone=ijepa"]]
    assert_same(OURS, runs, *command)


values = {
    "data.fraction": st.floats(0.01, 1.0),
    "trainer.seed": st.integers(0, 10**9),
    "head.hidden_dim": st.integers(1, 9),
    "data.image_hw": st.sampled_from(["[1,2]", "[32,64]"]),
    "+scale.extra": st.sampled_from(["a", "{b:1}", "[]"]),
    "backbone": st.sampled_from(["ijepa", "transfuser"]),
    "scale": st.sampled_from(["tiny", "paper"]),
}
runs = st.lists(
    st.dictionaries(st.sampled_from(sorted(values)), st.none(), max_size=4).flatmap(
        lambda names: st.fixed_dictionaries({name: values[name] for name in names})
    ),
    min_size=1,
    max_size=4,
).map(lambda found: [[f"{name}={value}" for name, value in run.items()] for run in found])


@examples(deadline=None, max_examples=8)
@given(runs)
def test_any_sweep_is_composed_as_hydra_composes_it(runs: list[list[str]]) -> None:
    assert_same(OURS, runs)


def test_the_config_of_one_run_can_be_changed_without_changing_the_next() -> None:
    with sweep(OURS) as (loader, master):
        ours = SweepConfigs(loader, master)
        expected = everything(ours.compose(["trainer.seed=1"]))
        changed = ours.compose(["trainer.seed=1"])
        OmegaConf.set_struct(changed, False)
        changed.data.image_hw = [1, 1]
        changed.scale.data.num_logs = 0
        assert everything(ours.compose(["trainer.seed=1"])) == expected


@pytest.mark.parametrize(
    "run",
    [
        ["trainer.sed=1"],
        ["trainer.seed=many"],
        ["trainer=nothing", "trainer.seed=1"],
        ["nothing.at.all=1"],
        ["backbone=ijepaa"],
        ["data.image_hw=3"],
        ["~trainer.sed", "trainer.seed=1"],
        ["~scale.head.hidden_dim=129", "trainer.seed=1"],
        ["trainer.seed=1,2"],
        ["trainer.seed=[1"],
        ["+trainer.seed=1"],
        ["data.root=null"],
        ["~study_of_nobody"],
        ["hydra.launcher.nothing=1"],
        ["hydra.sweep.dri=1", "trainer.seed=1"],
        ["head@scale.head2=mlp"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("is_first", [True, False], ids=["first", "later"])
def test_the_error_of_a_wrong_override_is_hydras_own(run: list[str], is_first: bool) -> None:
    with sweep(OURS) as (loader, master):
        ours = SweepConfigs(loader, master)
        if not is_first:
            for right in (["trainer.seed=1"], ["trainer.seed=2"]):
                ours.compose(right)
        with pytest.raises(HydraException) as expected:
            loader.load_sweep_config(master, run)
        with pytest.raises(HydraException) as raised:
            ours.compose(run)
    assert type(raised.value) is type(expected.value)
    assert str(raised.value) == str(expected.value)


def test_after_an_error_the_next_run_is_composed_as_before() -> None:
    with sweep(OURS) as (loader, master):
        ours = SweepConfigs(loader, master)
        for _ in range(2):
            with pytest.raises(HydraException):
                ours.compose(["trainer.sed=1"])
            expected = everything(loader.load_sweep_config(master, ["trainer.seed=1"]))
            assert everything(ours.compose(["trainer.seed=1"])) == expected
