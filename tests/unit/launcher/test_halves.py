"""One half of a pair alone is refused, whichever tool people know it from."""

from dataclasses import replace
from typing import Any

import pytest

from launcher import halves
from launcher.errors import ConfigError
from launcher.settings import ClusterConfig, DialectConfig, KeysConfig, StudyLauncherConf
from launcher.topology import Shape, sbatch_parameters

SHAPE = Shape(
    nodes=2, gpus_per_node=4, ranks_per_node=4, cpus_per_rank=16, mem_gb=512, timeout_min=1440
)
AGREEING: dict[str, Any] = {
    "nodes": 2,
    "tasks_per_node": 4,
    "gpus_per_node": 4,
    "cpus_per_task": 16,
    "timeout_min": 1440,
    "mem_gb": 512,
    "gres": "gpu:l40s:4,nvme:1",
    "gpus_per_task": 1,
    "cpus_per_gpu": 16,
    "mem_per_gpu": "128G",
    "mem_per_cpu": "8192M",
}
WRONG: dict[str, Any] = {
    "nodes": 1,
    "tasks_per_node": 1,
    "gpus_per_node": 8,
    "cpus_per_task": 8,
    "timeout_min": 60,
    "mem_gb": 256,
    "gres": "gpu:1",
    "gpus_per_task": 4,
    "cpus_per_gpu": 4,
    "mem_per_gpu": "64G",
    "mem_per_cpu": "4G",
}
SBATCH = [
    ("nodes", 2, 4),
    ("N", 2, 3),
    ("ntasks", 8, 3),
    ("n", 8, 16),
    ("ntasks-per-node", 4, 8),
    ("ntasks_per_node", 4, 1),
    ("cpus-per-task", 16, 1),
    ("gpus", "l40s:8", "l40s:4"),
    ("gpus-per-node", "l40s:4", 1),
    ("gpus-per-task", 1, 2),
    ("ntasks-per-gpu", 1, 2),
    ("gres", "gpu:4", "gpu"),
    ("mem", "512G", "256G"),
    ("mem", 524288, 262144),
    ("time", "1-00:00:00", "2-00:00:00"),
    ("time", "24:00:00", "12:00:00"),
    ("t", 1440, 60),
]


def test_halves_that_agree_with_the_shape_are_accepted_together() -> None:
    halves.check(StudyLauncherConf(**AGREEING), SHAPE)


@pytest.mark.parametrize("key", WRONG)
def test_a_single_half_of_the_stock_settings_is_refused(key: str) -> None:
    halves.check(StudyLauncherConf(**{key: AGREEING[key]}), SHAPE)
    with pytest.raises(ConfigError, match=rf"hydra\.launcher\.{key}=.*contradicts the shape"):
        halves.check(StudyLauncherConf(**{**AGREEING, key: WRONG[key]}), SHAPE)


@pytest.mark.parametrize(("option", "agreeing", "wrong"), SBATCH)
def test_a_single_half_among_the_options_of_sbatch_is_refused(
    option: str, agreeing: Any, wrong: Any
) -> None:
    halves.check(StudyLauncherConf(additional_parameters={option: agreeing}), SHAPE)
    with pytest.raises(ConfigError, match="contradicts the shape"):
        halves.check(StudyLauncherConf(additional_parameters={option: wrong}), SHAPE)


@pytest.mark.parametrize("option", ["array", "comment", "wrap", "signal", "output", "open_mode"])
def test_what_the_launcher_depends_on_is_not_to_be_set_beside_it(option: str) -> None:
    with pytest.raises(ConfigError, match="the launcher's to say"):
        halves.check(StudyLauncherConf(additional_parameters={option: "x"}), SHAPE)


def test_options_that_say_nothing_of_a_shape_pass() -> None:
    extra = {"hold": True, "mail-user": "me", "exclusive": True, "nice": 10}
    halves.check(StudyLauncherConf(additional_parameters=extra), SHAPE)


def test_a_value_that_cannot_be_read_is_said_to_be_unreadable() -> None:
    with pytest.raises(ConfigError, match="cannot be read: memory is written like 64G"):
        halves.check(StudyLauncherConf(mem_per_cpu="much"), SHAPE)


def test_a_cpu_run_with_gpus_in_gres_is_refused() -> None:
    alone = replace(SHAPE, nodes=1, gpus_per_node=0, ranks_per_node=1)
    with pytest.raises(ConfigError, match="by which it is 0"):
        halves.check(StudyLauncherConf(gres="gpu:1"), alone)


@pytest.mark.parametrize(
    ("devices", "num_nodes"), [(4, 2), ("auto", 2), (-1, None), ([0, 1, 2, 3], 2), (None, None)]
)
def test_a_trainer_that_starts_what_the_scheduler_starts_passes(
    devices: Any, num_nodes: Any
) -> None:
    config = {"trainer.devices": devices, "trainer.num_nodes": num_nodes}
    halves.check_trainer(config.get, KeysConfig(), SHAPE)


@pytest.mark.parametrize(
    ("devices", "num_nodes", "named"),
    [(3, 2, "devices=3"), (8, 2, "devices=8"), ([0], 2, "devices"), (4, 1, "num_nodes=1")],
)
def test_a_trainer_with_other_devices_or_nodes_is_refused(
    devices: Any, num_nodes: Any, named: str
) -> None:
    config = {"trainer.devices": devices, "trainer.num_nodes": num_nodes}
    with pytest.raises(ConfigError, match=f"{named}.*half of a shape"):
        halves.check_trainer(config.get, KeysConfig(), SHAPE)


@pytest.mark.parametrize(
    ("text", "gb"), [("64G", 64), ("65536", 64), ("65536M", 64), ("1T", 1024), ("512gb", 512)]
)
def test_memory_is_read_as_sbatch_reads_it(text: str, gb: float) -> None:
    assert halves.memory_gb(text) == gb


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("90", 90), ("1:30:00", 90), ("90:00", 90), ("90:01", 91), ("2-00", 2880), ("1-02:30", 1590)],
)
def test_time_is_read_as_sbatch_reads_it(text: str, minutes: int) -> None:
    assert halves.minutes(text) == minutes


DIALECTS = [
    (DialectConfig(), {"gres": "gpu:l40s:4", "mem": "524288M"}),
    (DialectConfig(gpus="gpus_per_node"), {"gpus_per_node": "l40s:4", "mem": "524288M"}),
    (DialectConfig(memory="cpu"), {"gres": "gpu:l40s:4", "mem_per_cpu": "8192M"}),
    (DialectConfig(memory="none"), {"gres": "gpu:l40s:4"}),
]


@pytest.mark.parametrize(("dialect", "expected"), DIALECTS)
def test_a_site_is_asked_in_its_own_words(dialect: DialectConfig, expected: dict[str, str]) -> None:
    cluster = ClusterConfig(gpu_type="l40s", dialect=dialect)
    found = sbatch_parameters(SHAPE, cluster)
    words = {"gres", "gpus_per_node", "mem", "mem_per_cpu"}
    assert {key: value for key, value in found.items() if key in words} == expected
    assert found["srun_args"] == ["--cpus-per-task=16"]
    untyped = sbatch_parameters(SHAPE, replace(cluster, gpu_type=None))
    assert "gpu:4" in untyped.values() or "4" in untyped.values()


def test_an_unknown_word_of_a_dialect_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"cluster\.dialect\.gpus=gress"):
        sbatch_parameters(SHAPE, ClusterConfig(dialect=DialectConfig(gpus="gress")))
