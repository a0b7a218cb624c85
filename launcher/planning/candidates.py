"""Where a run could go: partitions x numbers of GPUs, each with its shape or what forbids it. Pure.

Nobody is asked here; what a profile does not say forbids nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from launcher.errors import ConfigError
from launcher.partitions import AUTO, placed
from launcher.settings import ClusterConfig, PartitionConfig, ResourcesConfig, StudyLauncherConf
from launcher.topology import Shape, shape_of, split_batch

_NO_LIMIT_MIN = 10**9


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What a config says about batches; null is unknown, and forbids no shape."""

    size: int | None = None
    """Samples of an optimizer step over all ranks."""
    max_micro: int | None = None
    """Most samples that a rank holds at once."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A place and a number of GPUs; without a shape it is none that a run could have."""

    partition: str | None
    gpus: int
    is_asked: bool = False
    """Whether that is the number of GPUs that is asked for."""
    settings: StudyLauncherConf
    """As if the run went there."""
    shape: Shape | None = None
    micro_batch_size: int | None = None
    problem: str = ""
    """Why it cannot go there."""


def asked_gpus(resources: ResourcesConfig) -> int | None:
    """GPUs that are asked for; None where that is left open."""
    if resources.gpus is not None:
        return resources.gpus
    if resources.gpus_per_node is not None:
        return (resources.nodes or 1) * resources.gpus_per_node
    return None if resources.nodes is None else 0


def counts(settings: StudyLauncherConf, *, compares: bool) -> list[int]:
    """Numbers of GPUs to look at; 0 is a run on CPU.

    Args:
        settings: What is asked for.
        compares: Whether other numbers than the one asked for are of interest.
    """
    asked = asked_gpus(settings.resources)
    if compares and settings.plan_gpus:
        found = settings.plan_gpus
    elif asked is None:
        found = settings.resources.gpu_choices
    elif asked == 0 or not compares:
        found = [asked]
    else:
        found = [*settings.resources.gpu_choices, asked]
    if any(count < 0 for count in found) or not found:
        raise ConfigError(
            f"numbers of GPUs to choose from are {found}",
            hint="e.g. hydra.launcher.resources.gpu_choices=[1,4,8]",
        )
    return sorted(set(found))


def candidates(
    settings: StudyLauncherConf, gpus: Sequence[int], batch: Batch
) -> Iterator[Candidate]:
    """Every partition with every number of GPUs.

    Args:
        settings: What is asked for, with the cluster as the profile says it, not `placed`.
        gpus: Numbers of GPUs.
        batch: What has to divide over the ranks.
    """
    for count in gpus:
        for name in _partitions(settings.cluster, count):
            yield _candidate(settings, name, count, batch)


def _partitions(cluster: ClusterConfig, gpus: int) -> list[str | None]:
    """Partitions of a profile that have what is asked for; CPU runs leave GPUs to others."""
    if not cluster.partitions:
        return [None if cluster.partition == AUTO else cluster.partition]
    having = [
        name
        for name in cluster.partitions
        if bool(gpus) == (placed(replace(cluster, partition=name)).gpus_per_node not in (0, None))
    ]
    return [*(having or cluster.partitions)]


def _candidate(
    settings: StudyLauncherConf, partition: str | None, gpus: int, batch: Batch
) -> Candidate:
    resources = settings.resources
    is_asked = gpus == asked_gpus(resources)
    if not is_asked:
        resources = replace(resources, gpus=gpus, nodes=None, gpus_per_node=None)
    cluster = placed(replace(settings.cluster, partition=partition))
    there = replace(settings, cluster=cluster, resources=resources)
    found = Candidate(partition=partition, gpus=gpus, is_asked=is_asked, settings=there)
    try:
        # What a run may take of the partition's time gets a word of its own, below.
        shape = shape_of(resources, replace(cluster, max_time_min=_NO_LIMIT_MIN))
        micro = _micro_batch_size(shape, batch)
    except ConfigError as error:
        return replace(found, problem=f"does not fit: {error.message}")
    problem = _forbidden(settings.cluster, cluster, shape)
    return replace(found, shape=shape, micro_batch_size=micro, problem=problem)


def _micro_batch_size(shape: Shape, batch: Batch) -> int | None:
    if batch.size is None:
        return None
    most = batch.max_micro or batch.size
    return split_batch(batch.size, shape.world_size, most).micro_batch_size


def _forbidden(site: ClusterConfig, there: ClusterConfig, shape: Shape) -> str:
    """What of a partition's rules a shape breaks, in a few words; empty if none."""
    listed = site.partitions.get(there.partition or "", PartitionConfig())
    if listed.accounts and there.account and there.account not in listed.accounts:
        return f"account {there.account} is not let in, but {', '.join(listed.accounts)}"
    gpus = shape.nodes * shape.gpus_per_node
    limits = [
        ("node", shape.nodes, there.num_nodes, "there are"),
        ("node", shape.nodes, there.max_nodes, "a job may have"),
        ("GPU", gpus, there.max_gpus, "a job may have"),
    ]
    for what, asked, most, words in limits:
        if most is not None and asked > most:
            return f"does not fit: takes {asked} {what}s, {words} {most}"
    if there.max_time_min is not None and shape.timeout_min > there.max_time_min:
        return (
            f"over max time: asks {hours(shape.timeout_min)}, at most {hours(there.max_time_min)}"
        )
    return ""


def hours(minutes: float) -> str:
    """A time limit in hours."""
    return f"{minutes / 60:.4g} h"
