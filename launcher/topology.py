"""From a shape to sbatch and srun directives, and to the world each rank sees.

Pure. The only room where tasks, GPUs and CPUs are related to each other, so that no half of
a pair can be set alone: tasks per node equal GPUs per node (one on CPU).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from launcher.errors import ConfigError, at_least, one_of
from launcher.partitions import placed
from launcher.settings import ClusterConfig, ResourcesConfig


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Resources of an attempt. Ranks per node equal GPUs per node, or one without GPUs."""

    nodes: int
    gpus_per_node: int
    ranks_per_node: int
    cpus_per_rank: int
    mem_gb: float | None
    timeout_min: int

    @property
    def world_size(self) -> int:
        """Training processes in all."""
        return self.nodes * self.ranks_per_node

    @property
    def cpus(self) -> int:
        """CPU cores of one node."""
        return self.ranks_per_node * self.cpus_per_rank

    def __str__(self) -> str:
        if self.gpus_per_node:
            return f"{self.nodes} x {self.gpus_per_node} GPU"
        return f"{self.nodes} x {self.cpus} CPU"


def shape_of(resources: ResourcesConfig, cluster: ClusterConfig) -> Shape:
    """The shape that `resources` ask for on `cluster`.

    Raises:
        ConfigError: the parts contradict each other, or no node of the site is that large.
    """
    at_least("resources.cpus_per_rank", resources.cpus_per_rank, 1)
    at_least("resources.timeout_min", resources.timeout_min, 1)
    for key in ("mem_gb", "cpu_mem_gb"):
        if (asked_gb := getattr(resources, key)) is not None and not asked_gb > 0:
            raise ConfigError(
                f"`resources.{key}={asked_gb:g}` is not above 0",
                hint="null asks for the share of a node that goes with its GPUs or CPUs",
            )
    cluster = placed(cluster)
    nodes, gpus_per_node = _nodes_and_gpus(resources, cluster)
    ranks_per_node = max(gpus_per_node, 1)
    cpus = ranks_per_node * resources.cpus_per_rank
    mem_gb = resources.mem_gb
    if mem_gb is None and not gpus_per_node:
        mem_gb = resources.cpu_mem_gb
    if mem_gb is None:
        mem_gb = _share_gb(cluster, gpus_per_node, cpus)
    shape = Shape(
        nodes=nodes,
        gpus_per_node=gpus_per_node,
        ranks_per_node=ranks_per_node,
        cpus_per_rank=resources.cpus_per_rank,
        mem_gb=mem_gb,
        timeout_min=resources.timeout_min,
    )
    _check_fits(shape, cluster)
    return shape


def _share_gb(cluster: ClusterConfig, gpus: int, cpus: int) -> float | None:
    """Memory of a node [GB] that goes with a part of its GPUs, or of its CPUs."""
    asked, all_of_node = (gpus, cluster.gpus_per_node) if gpus else (cpus, cluster.cpus_per_node)
    if cluster.mem_gb_per_node is None or not all_of_node:
        return None
    return math.floor(cluster.mem_gb_per_node * min(asked / all_of_node, 1.0))


def _nodes_and_gpus(resources: ResourcesConfig, cluster: ClusterConfig) -> tuple[int, int]:
    gpus, nodes, per_node = resources.gpus, resources.nodes, resources.gpus_per_node
    for name, value in (("gpus", gpus), ("gpus_per_node", per_node)):
        if value is not None and value < 0:
            raise ConfigError(f"`resources.{name}={value}` is negative")
    if nodes is not None and nodes < 1:
        raise ConfigError(f"`resources.nodes={nodes}` is below 1")
    if gpus is None:
        return nodes or 1, per_node or 0
    if per_node is None:
        per_node = _gpus_per_node(gpus, nodes, cluster)
    if nodes is None:
        nodes = gpus // per_node if per_node else 1
    if nodes * per_node != gpus:
        raise ConfigError(
            f"`resources.gpus={gpus}` is not nodes x gpus_per_node = {nodes} x {per_node}",
            hint="give either the number of GPUs or the shape",
        )
    return nodes, per_node


def _gpus_per_node(gpus: int, nodes: int | None, cluster: ClusterConfig) -> int:
    if gpus == 0:
        return 0
    largest = cluster.gpus_per_node or gpus
    if nodes is None:
        per_node = min(gpus, largest)
        if gpus % per_node:
            below, above = gpus - gpus % per_node, gpus + per_node - gpus % per_node
            raise ConfigError(
                f"`resources.gpus={gpus}` does not fill nodes of {largest} GPUs evenly",
                hint=f"nearest that do: {below} or {above}",
            )
        return per_node
    if gpus % nodes:
        raise ConfigError(
            f"`resources.gpus={gpus}` does not divide over {nodes} nodes",
            hint=f"nearest that do: {gpus - gpus % nodes} or {gpus + nodes - gpus % nodes}",
        )
    return gpus // nodes


def _check_fits(shape: Shape, cluster: ClusterConfig) -> None:
    limits: list[tuple[str, float | None, float | None]] = [
        ("GPUs per node", shape.gpus_per_node, cluster.gpus_per_node),
        ("CPUs per node", shape.cpus, cluster.cpus_per_node),
        ("GB of memory per node", shape.mem_gb, cluster.mem_gb_per_node),
        ("minutes", shape.timeout_min, cluster.max_time_min),
    ]
    for what, asked, largest in limits:
        if asked is not None and largest is not None and asked > largest:
            raise ConfigError(
                f"the run asks for {asked:g} {what}, cluster `{cluster.name}` has {largest:g}",
                hint="change resources.*, or pick another cluster=",
            )


@dataclass(frozen=True, kw_only=True)
class BatchSplit:
    """How an effective batch is spread over ranks and time."""

    micro_batch_size: int
    """Samples that a rank holds at once."""
    accumulation: int
    """Forward and backward passes per optimizer step."""


def split_batch(batch_size: int, world_size: int, max_micro_batch_size: int) -> BatchSplit:
    """Spread `batch_size` evenly, in as few passes as `max_micro_batch_size` allows.

    Raises:
        ConfigError: it does not divide over the ranks.
    """
    if batch_size < 1 or max_micro_batch_size < 1:
        raise ConfigError(
            f"batch sizes start at 1, not {min(batch_size, max_micro_batch_size)}",
            hint="trainer.batch_size counts the samples of one optimizer step over all ranks",
        )
    if batch_size % world_size:
        below = max(batch_size - batch_size % world_size, world_size)
        above = batch_size + world_size - batch_size % world_size
        raise ConfigError(
            f"the effective batch of {batch_size} does not divide over {world_size} ranks",
            hint=f"nearest that do: {below} or {above}",
        )
    per_rank = batch_size // world_size
    fewest = -(-per_rank // max_micro_batch_size)
    passes = next(n for n in range(fewest, per_rank + 1) if per_rank % n == 0)
    return BatchSplit(micro_batch_size=per_rank // passes, accumulation=passes)


def sbatch_parameters(shape: Shape, cluster: ClusterConfig) -> dict[str, Any]:
    """Arguments for submitit's SlurmExecutor that ask for `shape` in the site's words."""
    parameters: dict[str, Any] = {
        "nodes": shape.nodes,
        "ntasks_per_node": shape.ranks_per_node,
        "cpus_per_task": shape.cpus_per_rank,
        "time": shape.timeout_min,
        # srun forgot --cpus-per-task from 22.05 to 23.02; restating it is right on all versions.
        "srun_args": [f"--cpus-per-task={shape.cpus_per_rank}"],
    }
    dialect = cluster.dialect
    one_of("cluster.dialect.gpus", dialect.gpus, ("gres", "gpus_per_node"))
    one_of("cluster.dialect.memory", dialect.memory, ("node", "cpu", "none"))
    if shape.mem_gb is not None and dialect.memory == "node":
        parameters["mem"] = f"{round(shape.mem_gb * 1024)}M"
    if shape.mem_gb is not None and dialect.memory == "cpu":
        parameters["mem_per_cpu"] = f"{math.ceil(shape.mem_gb * 1024 / shape.cpus)}M"
    if shape.gpus_per_node:
        kind = f"{cluster.gpu_type}:" if cluster.gpu_type else ""
        gpus = f"{kind}{shape.gpus_per_node}"
        if dialect.gpus == "gres":
            parameters["gres"] = f"gpu:{gpus}"
        else:
            parameters["gpus_per_node"] = gpus
    for name in ("partition", "account", "qos"):
        if getattr(cluster, name):
            parameters[name] = getattr(cluster, name)
    return parameters
