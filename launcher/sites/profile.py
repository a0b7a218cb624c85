"""From what a site says to a cluster profile: values, each with where it came from. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from launcher.sites import cards, limits, nodes
from launcher.sites.access import Access, Test, Way
from launcher.sites.dialect import Dialect
from launcher.sites.facts import Partition, Site
from launcher.sites.folders import Folder

Key = tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """A value, its unit and its source, in words."""

    value: Any
    note: str = ""


@dataclass(kw_only=True)
class Profile:
    """A cluster profile as it was found."""

    values: dict[Key, Found] = field(default_factory=dict)
    """Path of the key -> value, in the order of the file."""
    remarks: list[str] = field(default_factory=list)
    """What has no place among the values."""

    def add(self, key: Key, value: Any, note: str = "") -> None:
        """Set a value unless it is unknown."""
        if value not in (None, [], ""):
            self.values[key] = Found(value, note)

    def tree(self) -> dict[str, Any]:
        """The values, nested."""
        found: dict[str, Any] = {}
        for key, what in self.values.items():
            branch = found
            for word in key[:-1]:
                branch = branch.setdefault(word, {})
            branch[key[-1]] = what.value
        return found


def build(
    site: Site,
    access: Access,
    dialect: Dialect,
    folders: Mapping[str, Folder],
    test: Test,
    *,
    name: str | None = None,
    account: str | None = None,
) -> Profile:
    """Put a profile together.

    Args:
        site: What SLURM says of the site.
        access: The ways into its partitions.
        dialect: The words that it understands.
        folders: Work and scratch folder, by key.
        test: Asks SLURM about types of GPU.
        name: Name of the profile; None takes the cluster's.
        account: Account to use wherever it is let in; None leaves the choice to SLURM.
    """
    profile = Profile()
    profile.add(("name",), name or site.settings.get("ClusterName") or "site")
    default = _default_partition(site, access)
    profile.add(("partition",), default, "the site's default, or the first that lets you in")
    _add_words(profile, dialect)
    _add_settings(profile, site)
    for key, folder in folders.items():
        profile.add((key,), folder.path, f"{folder.source}; {folder.shared}")
    for partition in site.partitions:
        ways = access.into(partition.name)
        unclear = [way for way in access.unclear if way.partition == partition.name]
        if ways or unclear:
            way = _usual_way(site, ways, account) or Way(partition=partition.name)
            _add_partition(profile, site, partition, way, ways, dialect, test)
    profile.remarks += _remarks(site, access)
    return profile


def _default_partition(site: Site, access: Access) -> str | None:
    open_ones = [p for p in site.partitions if access.into(p.name)]
    chosen = [p for p in open_ones if p.is_default] or open_ones
    return chosen[0].name if chosen else None


def _add_words(profile: Profile, dialect: Dialect) -> None:
    tried = "tried with sbatch --test-only"
    profile.add(("dialect", "gpus"), dialect.gpus, tried)
    profile.add(("dialect", "memory"), dialect.memory, tried)


def _add_settings(profile: Profile, site: Site) -> None:
    config = "scontrol show config"
    size = site.settings.get("MaxArraySize", "")
    profile.add(("max_array_size",), int(size) if size.isdigit() else None, config)
    requeue = site.settings.get("JobRequeue", "")
    profile.add(("requeue",), requeue == "1" if requeue else None, f"JobRequeue, {config}")
    profile.add(("has_accounting",), site.has_accounting, "whether sacct answered")


def _add_partition(
    profile: Profile,
    site: Site,
    partition: Partition,
    way: Way,
    ways: list[Way],
    dialect: Dialect,
    test: Test,
) -> None:
    def add(name: str, value: Any, note: str = "") -> None:
        profile.add(("partitions", partition.name, name), value, note)

    usual = nodes.usual(site.nodes_of(partition.name))
    if usual is not None:
        _add_node(add, partition, usual, way, dialect, test)
    for limit in limits.of(site, partition, way):
        add(limit.name, limit.value, limit.note)
    default = site.accounts.default if site.accounts else None
    accounts = list(dict.fromkeys(w.account for w in ways if w.account))
    if way.account not in (None, default):
        add("account", way.account, f"SLURM would take {default or 'none'} by itself")
    if way.qos is not None and way.qos not in limits.default_qos(site, way.account):
        add("qos", way.qos, "the QOS you have by default is not let in here")
    add("accounts", accounts, "let in, tried with sbatch --test-only")
    choices = list(dict.fromkeys(w.qos for w in ways if w.account == way.account and w.qos))
    add("qos_choices", choices, "let in with that account")
    preemption = limits.preemption(site, partition, way)
    if preemption is not None:
        add("is_preemptible", True, preemption.note)
        add("grace_time_s", preemption.grace_time_s or None, "[s]")


def _add_node(
    add: Any, partition: Partition, usual: nodes.UsualNode, way: Way, dialect: Dialect, test: Test
) -> None:
    if usual.gpu_type:
        refusal = test(*way.options, dialect.gpu_option(usual.gpu_type))
        if refusal is None:
            add("gpu_type", usual.gpu_type, f"{dialect.gpu_option('<type>', '<n>')}, tried")
    # What the whole partition forbids cannot be asked of one node.
    cpus = min(filter(None, (usual.cpus, partition.max_cpus_per_node)))
    mem_gb = min(filter(None, (usual.mem_gb, partition.max_mem_gb_per_node)))
    remarks = "; ".join(usual.remarks)
    add("gpus_per_node", usual.gpus, remarks)
    add("gpu_mem_gb", cards.mem_gb(usual.gpu_type), "[GB] of one GPU, by its name")
    add("cpus_per_node", cpus, "scontrol show node")
    add("mem_gb_per_node", mem_gb, "[GB] that jobs may have")
    away = f"; {usual.away} of them away at the moment" if usual.away else ""
    add("num_nodes", usual.count, f"scontrol show node{away}")


def _usual_way(site: Site, ways: list[Way], account: str | None) -> Way | None:
    """The way of an account, or that of a job which names none, or the nearest to it."""
    default = account or (site.accounts.default if site.accounts else None)

    def distance(way: Way) -> tuple[bool, bool]:
        usual = limits.default_qos(site, way.account)
        return way.account != default, bool(usual) and way.qos not in usual

    return min(ways, key=distance, default=None)


def _remarks(site: Site, access: Access) -> list[str]:
    said = [f"SLURM {site.version}"]
    said.append(_preemption_of_site(site))
    wait = site.settings.get("KillWait")
    if wait:
        said.append(f"KillWait {wait}: from SIGTERM at the time limit to SIGKILL")
    accounts = site.accounts
    if accounts is None:
        said.append("sacctmgr does not answer: accounts and QOS are unknown")
    elif accounts.default:
        own = ", ".join(accounts.names)
        said.append(f"your accounts: {own}; SLURM takes {accounts.default} by default")
    said += _ways_not_open(site, access)
    if access.untested:
        more = len(access.untested)
        said.append(f"{more} more combinations of account, partition and QOS were not tried")
    return said


def _preemption_of_site(site: Site) -> str:
    kind = site.settings.get("PreemptType", "unknown").removeprefix("preempt/")
    mode = site.settings.get("PreemptMode", "unknown")
    options = ",".join(
        site.settings.get(name, "") for name in ("PreemptParameters", "SlurmctldParameters")
    )
    warned = " and the job is signalled first" if "send_user_signal" in options else ""
    return f"preemption: {kind}, {mode}{warned}"


def _ways_not_open(site: Site, access: Access) -> list[str]:
    """Partitions that are not in the profile, or may not work, with the reason, one line each."""
    said = []
    for partition in site.partitions:
        if access.into(partition.name):
            continue
        for what, ways in (("not for you", access.closed), ("unclear", access.unclear)):
            reasons = {reason for way, reason in ways.items() if way.partition == partition.name}
            if reasons:
                said.append(f"partition {partition.name}: {what}: {'; '.join(sorted(reasons))}")
    return said
