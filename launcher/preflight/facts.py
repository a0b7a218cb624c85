"""What a site says of itself at this moment; each question is asked once, and only if needed."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from launcher.scheduler.client import SlurmClient
from launcher.sites import limits
from launcher.sites.access import Way
from launcher.sites.asking import Asker
from launcher.sites.facts import Accounts, Node, Partition, Site
from launcher.sites.limits import Limit

_AWAY = re.compile(r"DOWN|DRAIN|FAIL|MAINT|UNKNOWN|NOT_RESPONDING|\*")
_ASLEEP = re.compile(r"POWERED_DOWN|POWERING_DOWN|POWER_DOWN")
"""Nodes that SLURM wakes up when it needs them."""


@dataclass(frozen=True, kw_only=True)
class NodeKind:
    """Nodes of a partition that are alike."""

    names: tuple[str, ...]
    cpus: int
    mem_gb: float
    gpus: int
    is_usable: bool


@dataclass(eq=False)
class SiteFacts:
    """The SLURM that a command talks to."""

    client: SlurmClient

    @cached_property
    def site(self) -> Site:
        """Settings, partitions and nodes, without accounts.

        Raises:
            SubmissionError: slurmctld does not answer.
        """
        return Asker(client=self.client).structure()

    @cached_property
    def accounts(self) -> Accounts | None:
        """What the accounts know of this user; None where there are none."""
        return Asker(client=self.client).accounts(self.settings.get("ClusterName"))

    @property
    def settings(self) -> Mapping[str, str]:
        """`scontrol show config`."""
        return self.site.settings

    @property
    def partition_names(self) -> list[str]:
        """All of them."""
        return sorted(partition.name for partition in self.site.partitions)

    def partition(self, name: str | None) -> Partition | None:
        """One partition, or the site's default; None where there is none."""
        wanted = (p for p in self.site.partitions if p.name == name or (not name and p.is_default))
        return next(wanted, None)

    def limits(self, name: str | None, account: str | None, qos: str | None) -> dict[str, Limit]:
        """The tightest limits of partition, QOS and account, by key of the profile."""
        partition = self.partition(name)
        if partition is None:
            return {}
        accounts = self.accounts
        account = account or (accounts.default if accounts is not None else None)
        way = Way(partition=partition.name, account=account, qos=qos)
        found = limits.of(replace(self.site, accounts=accounts), partition, way)
        return {limit.name: limit for limit in found}

    def nodes(self, name: str | None) -> list[Node]:
        """Nodes of a partition."""
        partition = self.partition(name)
        return self.site.nodes_of(partition.name) if partition is not None else []

    def kinds(self, name: str | None) -> list[NodeKind]:
        """Nodes of a partition, those that are alike together."""
        return kinds_of(self.nodes(name))


def kinds_of(nodes: Sequence[Node]) -> list[NodeKind]:
    """Nodes that are alike, together."""
    found: dict[tuple[int, int, float, bool], list[str]] = {}
    for node in nodes:
        is_usable = _AWAY.search(_ASLEEP.sub("", node.state.upper())) is None
        size = (sum(node.gpus.values()), node.cpus, node.mem_gb, is_usable)
        found.setdefault(size, []).append(node.name)
    return [
        NodeKind(names=tuple(names), gpus=gpus, cpus=cpus, mem_gb=mem_gb, is_usable=is_usable)
        for (gpus, cpus, mem_gb, is_usable), names in found.items()
    ]


def resolves(host: str) -> bool:
    """Whether a host name means something on this machine."""
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return False
    return True
