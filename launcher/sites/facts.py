"""What SLURM says of a site, understood. Null: nobody knows, or nothing limits it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Node:
    """One node, less what its administrators keep for the system."""

    name: str
    cpus: int
    mem_gb: float
    gpus: Mapping[str, int]
    """GPUs by type; those without a type under the empty word."""
    partitions: tuple[str, ...]
    state: str
    host: str = ""
    """The machine that it is; another name only where several nodes are one machine."""


@dataclass(frozen=True, kw_only=True)
class Partition:
    """One partition, as `scontrol show partition` has it."""

    name: str
    is_default: bool = False
    is_up: bool = True
    qos: str | None = None
    """QOS whose limits hold for every job there."""
    max_time_min: int | None = None
    max_nodes: int | None = None
    max_cpus_per_node: int | None = None
    max_mem_gb_per_node: float | None = None
    priority_tier: int = 1
    preempt_mode: str = ""
    grace_time_s: int = 0
    groups: tuple[str, ...] = ()
    """Unix groups that are let in; empty means all."""
    accounts: tuple[str, ...] = ()
    denied_accounts: tuple[str, ...] = ()
    qos_choices: tuple[str, ...] = ()
    denied_qos: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Qos:
    """One QOS and its limits."""

    name: str
    preempts: tuple[str, ...] = ()
    grace_time_s: int = 0
    max_time_min: int | None = None
    max_gpus_per_job: int | None = None
    max_gpus_per_user: int | None = None
    max_nodes_per_job: int | None = None
    max_submit: int | None = None


@dataclass(frozen=True, kw_only=True)
class Association:
    """What an account lets the user do."""

    account: str
    partition: str | None = None
    """The only partition that it is for."""
    qos: tuple[str, ...] = ()
    default_qos: str | None = None
    max_time_min: int | None = None
    max_gpus_per_job: int | None = None
    max_submit: int | None = None


@dataclass(frozen=True, kw_only=True)
class Accounts:
    """What `sacctmgr` says of the user."""

    associations: tuple[Association, ...] = ()
    default: str | None = None
    qos: Mapping[str, Qos] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Accounts of the user."""
        return list(dict.fromkeys(one.account for one in self.associations))


@dataclass(frozen=True, kw_only=True)
class Site:
    """All that a site says of itself."""

    version: str
    settings: Mapping[str, str]
    """`scontrol show config`."""
    partitions: tuple[Partition, ...]
    nodes: tuple[Node, ...]
    accounts: Accounts | None = None
    """None where sacctmgr was not asked, or does not answer."""
    has_accounting: bool | None = None
    """Whether sacct answers; None where it was not asked."""

    def nodes_of(self, partition: str) -> list[Node]:
        """Nodes of a partition."""
        return [node for node in self.nodes if partition in node.partitions]

    def has_gpus(self, partition: str) -> bool:
        """Whether there are GPUs on nodes of a partition."""
        return any(node.gpus for node in self.nodes_of(partition))
