from __future__ import annotations

import pytest

from launcher.sites import reading
from launcher.sites.facts import Qos
from tests.unit.launcher.discovery import recorded
from tests.unit.launcher.discovery.recorded import Recorded


@pytest.mark.parametrize("form", recorded.VERSIONS, ids=lambda form: form.version)
def test_a_node_is_read_the_same_in_the_words_of_every_version(form: Recorded) -> None:
    node = reading.node(reading.records(form.node)[0])
    assert (node.name, node.partitions) == ("gpu01", ("gpu", "all"))
    assert node.gpus == {"a100": 4}
    assert node.cpus == 64  # without the cores that 23.11 says are kept for the system
    assert node.mem_gb == 515000 / 1024


@pytest.mark.parametrize("form", recorded.VERSIONS, ids=lambda form: form.version)
def test_a_partition_is_read_the_same_in_the_words_of_every_version(form: Recorded) -> None:
    partition = reading.partition(reading.records(form.partition)[0])
    assert (partition.name, partition.is_default, partition.is_up) == ("gpu", True, True)
    assert (partition.max_time_min, partition.max_nodes) == (2880, 4)
    assert (partition.qos, partition.priority_tier) == ("part_gpu", 10)
    assert (partition.preempt_mode, partition.grace_time_s) == ("OFF", 30)
    assert partition.accounts == ("vision", "robots")
    assert partition.groups == partition.qos_choices == ()
    assert partition.max_cpus_per_node is None
    assert partition.max_mem_gb_per_node is None


@pytest.mark.parametrize(
    ("gres", "gpus"),
    [
        ("(null)", {}),
        ("gpu:4", {"": 4}),
        ("gpu:a100:2(S:0),gpu:v100:1(S:1)", {"a100": 2, "v100": 1}),
        ("gpu:h100:4(S:0,2),shard:16", {"h100": 4}),
        ("gpu:2080ti:3", {"2080ti": 3}),
        ("gpu:a100_3g.20gb:2", {"a100_3g.20gb": 2}),
        ("gpu:tesla:no_consume:4", {"tesla": 4}),
        ("craynetwork:4", {}),
    ],
)
def test_gpus_are_counted_by_type_in_every_form_of_gres(gres: str, gpus: dict[str, int]) -> None:
    assert reading.gpus(gres) == gpus


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("2-00:00:00", 2880), ("1-12", 2160), ("04:00:00", 240), ("30:00", 30), ("90", 90),
        ("UNLIMITED", None), ("", None), (None, None),
    ],
)  # fmt: skip
def test_time_limits_are_read_in_every_form(text: str | None, minutes: int | None) -> None:
    assert reading.minutes(text) == minutes


def test_a_setting_without_a_value_does_not_take_the_next_line() -> None:
    settings = reading.settings(recorded.CONFIG)
    assert settings["JobContainerType"] == ""
    assert settings["JobRequeue"] == "1"
    assert settings["SLURM_VERSION"] == "22.05.8"


def test_accounts_of_other_clusters_and_users_are_left_out() -> None:
    found = reading.accounts(recorded.ASSOC, recorded.USERS, recorded.QOS, "helios")
    assert found.names == ["robots", "vision"]
    assert found.default == "vision"
    robots, vision = found.associations
    assert (robots.max_gpus_per_job, robots.qos) == (8, ("normal",))
    assert (vision.max_time_min, vision.qos) == (1440, ("normal", "short"))


def test_limits_of_a_qos_are_read_with_their_units() -> None:
    found = reading.accounts(recorded.ASSOC, recorded.USERS, recorded.QOS, "helios")
    assert found.qos["short"] == Qos(
        name="short",
        preempts=("normal",),
        grace_time_s=90,
        max_time_min=60,
        max_gpus_per_job=4,
        max_gpus_per_user=6,
        max_nodes_per_job=2,
        max_submit=20,
    )


def test_no_accounts_are_no_accounts() -> None:
    assert reading.accounts("", "", "", "helios").associations == ()
