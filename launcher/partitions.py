"""From a site to one of its partitions: what is known there, in one flat profile. Pure."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from launcher.errors import ConfigError, nearest
from launcher.settings import ClusterConfig, PartitionConfig, StudyLauncherConf

AUTO = "auto"
"""Partition that stands for the best one."""
_SHARED = {f.name for f in fields(PartitionConfig)} & {f.name for f in fields(ClusterConfig)}


def folded(settings: StudyLauncherConf) -> StudyLauncherConf:
    """Settings in which the stock launcher's keys for a place are those of the cluster."""
    stock = {name: getattr(settings, name) for name in ("partition", "account", "qos")}
    said = {name: value for name, value in stock.items() if value is not None}
    if not said:
        return settings
    cluster: ClusterConfig = replace(settings.cluster, **said)
    return replace(settings, cluster=cluster, partition=None, account=None, qos=None)


def placed(cluster: ClusterConfig) -> ClusterConfig:
    """The profile with what is said of its partition filled in where it says nothing itself.

    A site without a list of partitions is what it says; calling it again changes nothing.

    Raises:
        ConfigError: the profile lists partitions, and this one is not among them.
    """
    name = cluster.partition
    if name is None or not cluster.partitions or "," in name:
        return cluster
    if name == AUTO:
        raise ConfigError(
            "`cluster.partition=auto` can only be decided by a command that asks SLURM",
            hint="use hydra/launcher=slurm, or name one of "
            + ", ".join(f"cluster.partition={known}" for known in cluster.partitions),
        )
    if name not in cluster.partitions:
        match = nearest(name, cluster.partitions)
        known = ", ".join(cluster.partitions)
        raise ConfigError(
            f"`cluster.partition={name}` is not in the profile `{cluster.name}`, which lists:"
            f" {known}",
            hint=f"cluster.partition={match}"
            if match
            else "`launch cluster discover` finds the partitions that there are now",
        )
    there = cluster.partitions[name]
    changes: dict[str, Any] = {
        key: getattr(there, key)
        for key in _SHARED - {"setup"}
        if getattr(cluster, key) is None and getattr(there, key) is not None
    }
    if there.setup and cluster.setup[-len(there.setup) :] != there.setup:
        changes["setup"] = [*cluster.setup, *there.setup]
    return replace(cluster, **changes)
