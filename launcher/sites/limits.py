"""Which limits hold for a way into a partition, and what may take its nodes away. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from launcher.sites.access import Way
from launcher.sites.facts import Association, Partition, Qos, Site


@dataclass(frozen=True)
class Limit:
    """The tightest of several limits of one kind, and who sets it."""

    name: str
    """Key of the profile."""
    value: int
    unit: str
    who: str

    @property
    def note(self) -> str:
        """As a comment in a profile."""
        return f"{self.unit}, {self.who}"


@dataclass(frozen=True)
class Preemption:
    """That jobs may lose their nodes to others."""

    note: str
    grace_time_s: int


def of(site: Site, partition: Partition, way: Way) -> list[Limit]:
    """The limits of a job, and of a user at once, that goes that way."""
    own, qos = _association(site, way), _qos_at_work(site, partition, way)
    who = f"partition {partition.name}"
    account = f"account {way.account}"
    candidates: dict[str, tuple[str, list[tuple[int | None, str]]]] = {
        "max_time_min": (
            "[min]",
            [
                (partition.max_time_min, who),
                *((one.max_time_min, f"QOS {one.name}") for one in qos),
                (own.max_time_min if own else None, account),
            ],
        ),
        "max_nodes": (
            "of one job",
            [
                (partition.max_nodes, who),
                *((one.max_nodes_per_job, f"QOS {one.name}") for one in qos),
            ],
        ),
        "max_gpus": (
            "at once",
            [
                *((one.max_gpus_per_job, f"QOS {one.name}, per job") for one in qos),
                *((one.max_gpus_per_user, f"QOS {one.name}, per user") for one in qos),
                (own.max_gpus_per_job if own else None, account),
            ],
        ),
        "max_submit": (
            "jobs in the queue",
            [
                *((one.max_submit, f"QOS {one.name}") for one in qos),
                (own.max_submit if own else None, account),
            ],
        ),
    }
    return [
        Limit(name, tightest[0], unit, tightest[1])
        for name, (unit, found) in candidates.items()
        if (tightest := _tightest(found)) is not None
    ]


def _tightest(found: Iterable[tuple[int | None, str]]) -> tuple[int, str] | None:
    known = [(value, who) for value, who in found if value is not None]
    return min(known, key=lambda pair: pair[0], default=None)


def default_qos(site: Site, account: str | None) -> tuple[str, ...]:
    """The QOS that a job of an account has which names none; empty where that is unknown."""
    own = _association(site, Way(partition="", account=account))
    if own is None:
        return ()
    if own.default_qos:
        return (own.default_qos,)
    # Without a default of its own, an association takes the cluster's, `normal` as installed.
    return ("normal",) if "normal" in own.qos or not own.qos else own.qos


def preemption(site: Site, partition: Partition, way: Way) -> Preemption | None:
    """Who may take nodes away from a job that goes that way; None where nobody may."""
    if site.settings.get("PreemptMode", "OFF").upper() == "OFF":
        return None
    kind = site.settings.get("PreemptType", "")
    if kind.endswith("partition_prio") and partition.preempt_mode.upper() != "OFF":
        above = _partitions_above(site, partition)
        if above:
            note = f"by jobs of {', '.join(above)}; PreemptMode={partition.preempt_mode}"
            return Preemption(note, partition.grace_time_s)
    if kind.endswith("qos") and site.accounts is not None:
        names = {one.name for one in _qos_at_work(site, partition, way)}
        above = [one.name for one in site.accounts.qos.values() if names & set(one.preempts)]
        if above:
            grace_s = max(one.grace_time_s for one in _qos_at_work(site, partition, way))
            return Preemption(f"by jobs of the QOS {', '.join(above)}", grace_s)
    return None


def _partitions_above(site: Site, partition: Partition) -> list[str]:
    """Partitions of a higher tier that share nodes with this one."""
    shared: set[str] = set()
    for node in site.nodes_of(partition.name):
        shared.update(node.partitions)
    tiers = {one.name: one.priority_tier for one in site.partitions}
    return sorted(name for name in shared if tiers.get(name, 0) > partition.priority_tier)


def _qos_at_work(site: Site, partition: Partition, way: Way) -> list[Qos]:
    """The job's own QOS and that of the partition, where they are known."""
    known = site.accounts.qos if site.accounts is not None else {}
    names: Collection[str] = (way.qos,) if way.qos else default_qos(site, way.account)
    asked = dict.fromkeys([*names, *([partition.qos] if partition.qos else [])])
    return [known[name] for name in asked if name in known]


def _association(site: Site, way: Way) -> Association | None:
    own = site.accounts.associations if site.accounts is not None else ()
    same = [one for one in own if one.account == way.account]
    return next((one for one in same if one.partition == way.partition), same[0] if same else None)
