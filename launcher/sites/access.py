"""Which account may send jobs where, and under which QOS: said by SLURM, and tried.

`sbatch --test-only` does not see everything: a list of accounts or groups that a partition lets
in is only enforced when a job starts, unless the site says `EnforcePartLimits`. So what the
partition declares counts first, and what passes is tried.
"""

from __future__ import annotations

import grp
import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

from launcher.sites.facts import Association, Partition, Site

MOST_TESTS = 60
"""Calls of `sbatch --test-only` that a site is asked to bear for the map."""
ONE_GPU = "--gres=gpu:1"
_ABOUT_ACCESS = re.compile(r"account|qos|partition|permission|access|associat|group", re.I)

Test = Callable[..., str | None]
"""Options of sbatch -> why SLURM refuses them, or None."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """An account, a partition and a QOS; null leaves the choice to SLURM."""

    partition: str
    account: str | None = None
    qos: str | None = None

    @property
    def options(self) -> list[str]:
        """As sbatch is told it."""
        told = [f"--partition={self.partition}"]
        told += [f"--account={self.account}"] if self.account else []
        return told + ([f"--qos={self.qos}"] if self.qos else [])


@dataclass(kw_only=True)
class Access:
    """What was found out about ways into partitions."""

    open: list[Way] = field(default_factory=list)
    closed: dict[Way, str] = field(default_factory=dict)
    """With the reason."""
    unclear: dict[Way, str] = field(default_factory=dict)
    """Refused for another reason than who asks, e.g. because all nodes are down."""
    untested: list[Way] = field(default_factory=list)

    def into(self, partition: str) -> list[Way]:
        """Ways that are open into a partition."""
        return [way for way in self.open if way.partition == partition]


def find(
    site: Site, test: Test, *, one_gpu: str = ONE_GPU, groups: Collection[str] | None = None
) -> Access:
    """Try the ways that accounts and partitions allow, at most MOST_TESTS.

    Args:
        site: The site.
        test: Asks SLURM.
        one_gpu: How a GPU is asked for.
        groups: Unix groups of the user; None asks the system.
    """
    access = Access()
    own = set(_own_groups() if groups is None else groups)
    # The default way into each partition first: it is the one most jobs take.
    tried = 0
    for way, refusal in sorted(_ways(site, own), key=lambda pair: _rank(site, pair[0])):
        if refusal is not None:
            access.closed[way] = refusal
        elif tried >= MOST_TESTS:
            access.untested.append(way)
        else:
            tried += 1
            _note(access, way, test(*way.options, *_gpus(site, way, one_gpu)))
    return access


def _note(access: Access, way: Way, refusal: str | None) -> None:
    if refusal is None:
        access.open.append(way)
    elif _ABOUT_ACCESS.search(refusal):
        access.closed[way] = refusal
    else:
        access.unclear[way] = refusal


def _gpus(site: Site, way: Way, one_gpu: str) -> list[str]:
    """Some sites refuse jobs without GPUs where there are GPUs."""
    return [one_gpu] if site.has_gpus(way.partition) else []


def _ways(site: Site, groups: Collection[str]) -> Iterator[tuple[Way, str | None]]:
    """Each way with the reason why it is closed, where SLURM says so itself."""
    for partition in site.partitions:
        if site.accounts is None or not site.accounts.associations:
            way = Way(partition=partition.name)
            yield way, _closed(partition, None, None, groups)
            continue
        for one in site.accounts.associations:
            if one.partition not in (None, partition.name):
                continue
            for qos in _qos_of(one):
                way = Way(partition=partition.name, account=one.account, qos=qos)
                yield way, _closed(partition, one.account, qos, groups)


def _qos_of(association: Association) -> Sequence[str | None]:
    return association.qos or (None,)


def _rank(site: Site, way: Way) -> tuple[bool, bool]:
    accounts = site.accounts
    default = accounts.default if accounts else None
    own = [one for one in accounts.associations if one.account == way.account] if accounts else []
    usual = {one.default_qos or (one.qos[0] if one.qos else None) for one in own}
    return (way.qos not in usual if own else False, default not in (None, way.account))


def _closed(
    partition: Partition, account: str | None, qos: str | None, groups: Collection[str]
) -> str | None:
    """Why a partition is closed by what it declares; None where it is not."""
    if not partition.is_up:
        return "the partition is not up"
    if partition.groups and not set(partition.groups) & set(groups):
        return f"only for the groups {', '.join(partition.groups)}"
    if account is not None:
        if partition.accounts and account not in partition.accounts:
            return f"only for the accounts {', '.join(partition.accounts)}"
        if account in partition.denied_accounts:
            return f"not for the account {account}"
    if qos is not None:
        if partition.qos_choices and qos not in partition.qos_choices:
            return f"only with the QOS {', '.join(partition.qos_choices)}"
        if qos in partition.denied_qos:
            return f"not with the QOS {qos}"
    return None


def _own_groups() -> list[str]:
    names = []
    for number in {os.getgid(), *os.getgroups()}:
        try:
            names.append(grp.getgrgid(number).gr_name)
        except KeyError:
            continue  # a group that only the directory of another machine knows
    return names
