"""Checks of a submission against what the site says of itself now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from launcher.errors import nearest
from launcher.preflight.facts import NodeKind, resolves
from launcher.preflight.findings import Finding, Subject, check, distinct, ok

if TYPE_CHECKING:
    from launcher.compose import WantedRun
    from launcher.preflight.facts import SiteFacts
    from launcher.sites.limits import Limit

_LOOKED_UP = 32
"""Node names that are looked up at most."""


def _need(run: WantedRun) -> object:
    return run.shape, _partitions_of(run)


def _partitions_of(run: WantedRun) -> list[str | None]:
    """Partitions that a run may start in; None is the site's default."""
    name = run.settings.partition or run.settings.cluster.partition
    return list(name.split(",")) if name else [None]


@check
def partition(subject: Subject) -> Iterator[Finding]:
    """The partition exists, and takes jobs."""
    site = subject.site
    if site is None:
        return
    for run in distinct(subject.runs, _partitions_of):
        for name in _partitions_of(run):
            found = site.partition(name)
            if found is None:
                yield _no_partition(run, name, site)
            elif not found.is_up:
                yield Finding(
                    check="partition",
                    level="warning",
                    runs=run.name,
                    reason=f"partition `{found.name}` is not up: jobs wait until it is",
                )
            else:
                yield ok("partition", f"`{found.name}` is up")


def _no_partition(run: WantedRun, name: str | None, site: SiteFacts) -> Finding:
    known = site.partition_names
    match = nearest(name, known) if name else None
    reason = f"partition `{name}` does not exist; there are: {', '.join(known)}"
    if name is None:
        reason = f"the site has no default partition; there are: {', '.join(known)}"
    profile = run.settings.cluster.name
    return Finding(
        check="partition",
        level="error",
        runs=run.name,
        reason=reason,
        hint=f"cluster.partition={match or (known[0] if known else '...')}; if profile"
        f" `{profile}` is of another time or site, `launch cluster discover` writes a new one",
    )


@check
def node_size(subject: Subject) -> Iterator[Finding]:
    """Enough nodes of the partition are as large as the shape."""
    site = subject.site
    if site is None:
        return
    for run in distinct(subject.runs, _need):
        for name in _partitions_of(run):
            if site.partition(name) is not None:
                yield _compare_nodes(run, site.kinds(name))


def _compare_nodes(run: WantedRun, kinds: Sequence[NodeKind]) -> Finding:
    shape = run.shape
    if not kinds:
        return Finding(
            check="node_size",
            level="unknown",
            runs=run.name,
            reason="SLURM shows no node of the partition",
        )
    large = [kind for kind in kinds if _holds(kind, run)]
    count = sum(len(kind.names) for kind in large)
    if count >= shape.nodes:
        usable = sum(len(kind.names) for kind in large if kind.is_usable)
        if usable < shape.nodes:
            return Finding(
                check="node_size",
                level="warning",
                runs=run.name,
                reason=f"{usable} of {count} nodes that are large enough for {shape} take jobs at"
                " present; the job waits for the others",
            )
        return ok("node_size", f"{count} nodes hold {shape}")
    sizes = _by_size(kinds)
    largest = [
        f"{len(k.names)} x ({k.gpus} GPUs, {k.cpus} CPUs, {k.mem_gb:.0f} GB)"
        for k in sorted(sizes, key=lambda k: (-k.gpus, -k.cpus))[:3]
    ]
    asked = f"{shape.gpus_per_node} GPUs, {shape.cpus} CPUs" + (
        f", {shape.mem_gb:g} GB" if shape.mem_gb is not None else ""
    )
    return Finding(
        check="node_size",
        level="error",
        runs=run.name,
        reason=f"{shape.nodes} nodes of at least {asked} are asked for, {count} are that large:"
        f" {'; '.join(largest)}",
        hint=_nearest_shape(run, sizes),
    )


def _by_size(kinds: Sequence[NodeKind]) -> list[NodeKind]:
    """Kinds of nodes, whether or not they take jobs at present."""
    found: dict[tuple[int, int, float], NodeKind] = {}
    for kind in kinds:
        size = (kind.gpus, kind.cpus, kind.mem_gb)
        names = (*found[size].names, *kind.names) if size in found else kind.names
        found[size] = replace(kind, names=names)
    return list(found.values())


def _holds(kind: NodeKind, run: WantedRun) -> bool:
    shape = run.shape
    fits = kind.gpus >= shape.gpus_per_node and kind.cpus >= shape.cpus
    return fits and (shape.mem_gb is None or kind.mem_gb >= shape.mem_gb - 0.01)


def _nearest_shape(run: WantedRun, kinds: list[NodeKind]) -> str:
    """A shape with as many GPUs that the nodes do hold, or the largest that they hold."""
    shape = run.shape
    total = shape.nodes * shape.gpus_per_node
    if not total:
        best = max(kinds, key=lambda kind: (min(kind.cpus, shape.cpus), kind.mem_gb))
        return f"at most resources.cpus_per_rank={best.cpus} resources.mem_gb={int(best.mem_gb)}"
    found = []
    for kind in kinds:
        for per_node in range(min(kind.gpus, total), 0, -1):
            nodes = total // per_node
            if total % per_node == 0 and nodes <= len(kind.names):
                cpus = min(shape.cpus_per_rank, kind.cpus // per_node)
                found.append((nodes, per_node, cpus, int(kind.mem_gb)))
                break
    if not found:
        most = max((kind.gpus * len(kind.names) for kind in kinds), default=0)
        return f"the partition has {most} GPUs of one kind in all"
    nodes, per_node, cpus, mem_gb = min(found)
    return (
        f"nearest that fits: resources.nodes={nodes} resources.gpus_per_node={per_node}"
        f" resources.cpus_per_rank={cpus}"
        + (f" resources.mem_gb={mem_gb}" if (shape.mem_gb or 0) > mem_gb else "")
    )


def _way(run: WantedRun) -> tuple[str | None, str | None]:
    """Account and QOS of a run."""
    settings = run.settings
    return settings.account or settings.cluster.account, settings.qos or settings.cluster.qos


@check
def walltime(subject: Subject) -> Iterator[Finding]:
    """The time limit is below those of partition, QOS and account.

    `sbatch --test-only` does not look at them, and the job would wait for ever.
    """
    site = subject.site
    if site is None:
        return
    for run in distinct(subject.runs, lambda r: (r.shape.timeout_min, _partitions_of(r), _way(r))):
        for name in _partitions_of(run):
            longest = site.limits(name, *_way(run)).get("max_time_min")
            asked = run.shape.timeout_min
            if longest is not None and asked > longest.value:
                yield Finding(
                    check="walltime",
                    level="error",
                    runs=run.name,
                    reason=f"resources.timeout_min={asked} is above the limit of"
                    f" {longest.value} min ({longest.who}): the job would wait for ever",
                    hint=f"resources.timeout_min={longest.value}; a longer run is requeued and"
                    " goes on",
                )
            else:
                yield ok("walltime", f"{asked} min of {longest.value if longest else 'unlimited'}")


@check
def limits(subject: Subject) -> Iterator[Finding]:
    """What partition, QOS and account permit to one job, as SLURM and the profile say."""
    site = subject.site
    if site is None:
        return
    for run in distinct(subject.runs, lambda r: (_need(r), _way(r))):
        for name in _partitions_of(run):
            yield from _job_limits(run, site.limits(name, *_way(run)))
    yield from _submit_limit(subject, site)


def _job_limits(run: WantedRun, live: Mapping[str, Limit]) -> Iterator[Finding]:
    cluster, shape = run.settings.cluster, run.shape
    asked = {
        "max_nodes": ("nodes", shape.nodes, cluster.max_nodes),
        "max_gpus": ("GPUs", shape.nodes * shape.gpus_per_node, cluster.max_gpus),
    }
    for key, (what, count, in_profile) in asked.items():
        known = [(live[key].value, live[key].who)] if key in live else []
        known += [(in_profile, f"profile {cluster.name}")] if in_profile is not None else []
        if not known:
            continue
        most, who = min(known)
        if count > most:
            yield Finding(
                check="limits",
                level="error",
                runs=run.name,
                reason=f"{count} {what} are asked for, {most} are permitted ({who})",
                hint=f"at most {most} {what}: change resources.*, cluster.partition, cluster.qos"
                " or cluster.account",
            )
        else:
            yield ok("limits", f"{count} {what} of {most} ({who})")


def _submit_limit(subject: Subject, site: SiteFacts) -> Iterator[Finding]:
    run, count = subject.runs[0], len(subject.runs)
    live = site.limits(_partitions_of(run)[0], *_way(run)).get("max_submit")
    known = [n for n in (live.value if live else None, run.settings.cluster.max_submit) if n]
    if known and count > min(known):
        yield Finding(
            check="limits",
            level="warning",
            reason=f"{count} runs, but one user may have {min(known)} jobs in the queue: the rest"
            " waits unsent",
            hint="`launch resume` sends them when others have ended; wait=true does so by itself",
        )


@check
def requeue(subject: Subject) -> Iterator[Finding]:
    """A job may come back: what the time limit, preemption and dead nodes need."""
    site = subject.site
    if site is None or subject.settings.recovery.max_attempts <= 1:
        return
    extra = subject.settings.additional_parameters or {}
    if any(name.replace("_", "-") == "no-requeue" for name in extra):
        yield Finding(
            check="requeue",
            level="error",
            reason="additional_parameters.no-requeue keeps SLURM from putting a job back: a run"
            " would end at its first time limit",
            hint="drop it, or say that one life is enough: recovery=never"
            " (hydra.launcher.recovery.max_attempts=1)",
        )
        return
    disabled = site.settings.get("JobRequeue") == "0"
    yield ok(
        "requeue",
        "the site's default is off (JobRequeue=0); jobs ask for it with --requeue"
        if disabled
        else "on",
    )
    yield from _preemption(subject, site)


def _preemption(subject: Subject, site: SiteFacts) -> Iterator[Finding]:
    if site.settings.get("PreemptType", "preempt/none").endswith("none"):
        return
    for run in distinct(subject.runs, _partitions_of):
        for name in _partitions_of(run):
            found = site.partition(name)
            own = found.preempt_mode if found is not None else ""
            mode = own or site.settings.get("PreemptMode", "")
            if "CANCEL" in mode:
                yield Finding(
                    check="requeue",
                    level="warning",
                    runs=run.name,
                    reason=f"preempted jobs of {name or 'the default partition'} are cancelled,"
                    " not requeued: SLURM does not bring them back",
                    hint="`launch resume`, or the same command again, sends them",
                )


@check
def node_names(subject: Subject) -> Iterator[Finding]:
    """Ranks on several nodes find each other by name."""
    site = subject.site
    if site is None:
        return
    for run in distinct(subject.runs, _need):
        if run.shape.nodes < 2:
            continue
        nodes = [node for name in _partitions_of(run) for node in site.nodes(name)]
        names = [node.name for node in nodes][:_LOOKED_UP]
        with ThreadPoolExecutor(8) as pool:
            unknown = [
                n for n, known in zip(names, pool.map(resolves, names), strict=True) if not known
            ]
        if unknown:
            yield Finding(
                check="node_names",
                level="warning",
                runs=run.name,
                reason=f"{len(unknown)} of {len(names)} node names do not resolve here"
                f" ({', '.join(unknown[:3])}); if they do not on the nodes either, ranks of"
                " several nodes never meet",
                hint="put them into DNS or /etc/hosts of the nodes; `launch cluster discover"
                " --try-node` looks there",
            )
        else:
            yield ok("node_names", f"{len(names)} names resolve")
