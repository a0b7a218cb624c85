"""Which runs are probed, under which key, in which folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from launcher import probes
from launcher.compose import WantedRun
from launcher.errors import ConfigError
from launcher.hydra_config import pickled
from launcher.settings import ClusterConfig, ProbeConfig, StudyLauncherConf
from launcher.topology import Shape

SHAPE = Shape(
    nodes=1, gpus_per_node=1, ranks_per_node=1, cpus_per_rank=4, mem_gb=8.0, timeout_min=600
)


def wanted(
    key: str,
    *,
    profile: str = "p",
    workers: int = 2,
    settings: StudyLauncherConf | None = None,
    **shape: Any,
) -> WantedRun:
    config = {
        "data": {"num_workers": workers},
        "hydra": {"sweep": {"dir": "/real", "subdir": key}, "launcher": {}},
    }
    return WantedRun(
        key=key,
        name=key,
        overrides=(),
        run_dir=Path("/real") / key,
        pickle=pickled(OmegaConf.create(config)),
        settings=settings or StudyLauncherConf(),
        shape=dataclasses.replace(SHAPE, **shape),
        profile_dir=Path("/real/profiles") / profile,
    )


def keys(*runs: WantedRun) -> list[tuple[str, int]]:
    """Names of what is probed, and for how many runs each stands."""
    found = probes.probes_of(runs, Path("/probes"))
    return [(probe.run.name, probe.stands_for) for probe in found]


def test_runs_that_take_the_same_are_probed_once() -> None:
    assert keys(wanted("a"), wanted("b"), wanted("c", profile="q")) == [("a", 2), ("c", 1)]


@pytest.mark.parametrize(
    "other",
    [
        {"workers": 4},
        {"gpus_per_node": 2, "ranks_per_node": 2},
        {"mem_gb": 16.0},
        {"settings": StudyLauncherConf(cluster=ClusterConfig(partition="other"))},
    ],
)
def test_what_changes_the_measure_is_probed_by_itself(other: dict[str, Any]) -> None:
    assert keys(wanted("a"), wanted("b", **other)) == [("a", 1), ("b", 1)]


def test_a_run_of_the_same_key_in_another_shape_is_another_probe() -> None:
    assert keys(wanted("a"), wanted("a", nodes=2)) == [("a", 1), ("a", 1)]


def test_the_time_limit_of_the_run_makes_no_difference() -> None:
    assert keys(wanted("a"), wanted("b", timeout_min=5)) == [("a", 2)]


def test_a_probe_shares_neither_key_nor_folder_with_its_run() -> None:
    (probe,) = probes.probes_of([wanted("a")], Path("/probes"))
    run = probe.run
    assert run.key != "a"
    assert run.run_dir == Path("/probes") / run.key
    assert run.config.hydra.sweep.dir == "/probes"
    assert run.config.hydra.sweep.subdir == run.key
    assert run.config.data.num_workers == 2
    assert run.profile_dir == Path("/real/profiles/p")


def test_a_probe_has_one_life_and_a_limit_of_its_own() -> None:
    settings = StudyLauncherConf(probe=ProbeConfig(timeout_min=7), report="a:b")
    (probe,) = probes.probes_of([wanted("a", settings=settings)], Path("/probes"))
    assert probe.run.shape.timeout_min == 7
    assert probe.run.settings.recovery.max_attempts == 1
    assert probe.run.settings.report is None
    assert probe.run.settings.action == "probe"
    assert settings.recovery.max_attempts > 1


def test_a_probe_never_asks_for_more_time_than_the_partition_gives() -> None:
    settings = StudyLauncherConf(cluster=ClusterConfig(max_time_min=3))
    (probe,) = probes.probes_of([wanted("a", settings=settings)], Path("/probes"))
    assert probe.run.shape.timeout_min == 3


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (ProbeConfig(steps=0), r"probe\.steps=0` is below 1"),
        (ProbeConfig(val_batches=-1), r"probe\.val_batches=-1` is below 0"),
        (ProbeConfig(timeout_min=0), r"probe\.timeout_min=0` is below 1"),
    ],
)
def test_numbers_of_which_nothing_could_be_measured_are_refused(
    config: ProbeConfig, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        probes.check(config)
