"""One shape decides tasks, GPUs, CPUs and accumulation; no half of a pair stands alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.errors import ConfigError
from launcher.settings import ClusterConfig, ResourcesConfig
from launcher.topology import sbatch_parameters, shape_of, split_batch

L40S = ClusterConfig(
    name="l40s",
    partition="l40s_public",
    gpu_type="l40s",
    gpus_per_node=4,
    cpus_per_node=128,
    mem_gb_per_node=513,
    max_time_min=2880,
)


def test_sixteen_gpus_take_four_nodes_of_four_ranks() -> None:
    shape = shape_of(ResourcesConfig(gpus=16, cpus_per_rank=16), L40S)
    assert (shape.nodes, shape.ranks_per_node, shape.world_size) == (4, 4, 16)
    parameters = sbatch_parameters(shape, L40S)
    assert parameters["ntasks_per_node"] == 4
    assert parameters["gres"] == "gpu:l40s:4"
    assert parameters["srun_args"] == ["--cpus-per-task=16"]


def test_without_gpus_there_is_one_rank() -> None:
    assert shape_of(ResourcesConfig(gpus=0), ClusterConfig()).world_size == 1


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        (ResourcesConfig(gpus=6), "nearest that do: 4 or 8"),
        (ResourcesConfig(gpus=8, nodes=3), "nearest that do: 6 or 9"),
        (ResourcesConfig(gpus=8, nodes=3, gpus_per_node=4), "not nodes x gpus_per_node = 3 x 4"),
        (ResourcesConfig(nodes=1, gpus_per_node=8), "8 GPUs per node, cluster `l40s` has 4"),
        (ResourcesConfig(gpus=4, cpus_per_rank=64), "256 CPUs per node, cluster `l40s` has 128"),
        (ResourcesConfig(mem_gb=600), "600 GB of memory per node"),
        (ResourcesConfig(timeout_min=3000), "3000 minutes"),
        (ResourcesConfig(gpus=-1), "negative"),
    ],
)
def test_a_shape_that_cannot_be_is_refused_with_the_reason(
    resources: ResourcesConfig, message: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        shape_of(resources, L40S)
    assert message in str(refused.value)


@given(st.integers(1, 64), st.integers(1, 16), st.integers(1, 64))
def test_the_effective_batch_is_the_same_on_any_number_of_ranks(
    per_rank: int, ranks: int, largest: int
) -> None:
    split = split_batch(per_rank * ranks, ranks, largest)
    assert split.micro_batch_size * split.accumulation * ranks == per_rank * ranks
    assert split.micro_batch_size <= largest


def test_an_uneven_batch_is_refused_with_the_nearest_legal_ones() -> None:
    with pytest.raises(ConfigError, match="28 or 32"):
        split_batch(30, 4, 64)
