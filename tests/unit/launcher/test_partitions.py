"""From a site to one of its partitions."""

from dataclasses import replace

import pytest

from launcher.errors import ConfigError
from launcher.partitions import placed
from launcher.settings import ClusterConfig, PartitionConfig

SITE = ClusterConfig(
    name="site",
    partition="l40s",
    account="me",
    setup=["echo site"],
    partitions={
        "l40s": PartitionConfig(
            gpu_type="l40s",
            gpus_per_node=4,
            mem_gb_per_node=512,
            max_time_min=2880,
            account="other",
            setup=["echo partition"],
        ),
        "h200": PartitionConfig(gpu_type="h200", gpus_per_node=8),
    },
)


def test_a_partition_fills_in_what_the_site_leaves_open() -> None:
    there = placed(SITE)
    assert (there.gpu_type, there.gpus_per_node, there.mem_gb_per_node) == ("l40s", 4, 512)
    assert there.account == "me"
    assert there.setup == ["echo site", "echo partition"]


def test_placing_twice_changes_nothing() -> None:
    once = placed(SITE)
    assert placed(once) == once


def test_another_partition_is_another_size() -> None:
    there = placed(replace(SITE, partition="h200"))
    assert (there.gpu_type, there.gpus_per_node, there.max_time_min) == ("h200", 8, None)


def test_a_partition_that_the_profile_has_not_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="h200") as caught:
        placed(replace(SITE, partition="h20"))
    assert caught.value.hint == "cluster.partition=h200"


def test_auto_is_no_partition_where_nobody_asks_slurm() -> None:
    with pytest.raises(ConfigError, match="asks SLURM"):
        placed(replace(SITE, partition="auto"))


def test_a_site_without_a_list_and_a_list_of_partitions_are_left_alone() -> None:
    for cluster in (ClusterConfig(partition="x"), replace(SITE, partition="h200,l40s")):
        assert placed(cluster) == cluster
