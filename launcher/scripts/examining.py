"""From a script to its findings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from launcher.errors import ConfigError
from launcher.partitions import placed
from launcher.scripts.case import Case, Measured, runs_of
from launcher.scripts.equivalent import equivalent
from launcher.scripts.findings import ScriptFinding
from launcher.scripts.reading import load, read_script
from launcher.scripts.rules import RULES
from launcher.settings import ClusterConfig

_ORDER = {"error": 0, "warning": 1, "note": 2}


@dataclass(frozen=True, kw_only=True)
class Examined:
    """What was found out about a script."""

    findings: tuple[ScriptFinding, ...]
    """Errors first; among them the cause first."""
    instead: str
    """The command that asks for what the script was meant to ask for."""

    @property
    def exit_code(self) -> int:
        """1 where something is an error, else 0."""
        return int(any(one.severity == "error" for one in self.findings))


def examine(
    path: Path, cluster: ClusterConfig | None = None, measured: Measured | None = None
) -> Examined:
    """Read a batch script and apply all rules; nothing is run.

    Args:
        path: A file that goes to sbatch.
        cluster: Profile of the site; without it sizes and limits are not checked.
        measured: What a rank and a worker were seen to take, in place of rules of thumb.

    Raises:
        LauncherError: the file cannot be read, or is no script.
    """
    return examine_text(load(path), cluster, measured)


def examine_text(
    text: str, cluster: ClusterConfig | None = None, measured: Measured | None = None
) -> Examined:
    """As `examine`, of the script's text."""
    script = read_script(text)
    case = Case(
        script=script,
        runs=tuple(runs_of(script)),
        node=_node(cluster, script.directives.value("partition")),
        cluster=cluster,
        measured=measured,
    )
    found = [finding for rule in RULES for finding in rule(case)]
    ordered = sorted(dict.fromkeys(found), key=lambda one: _ORDER[one.severity])
    return Examined(findings=tuple(ordered), instead=equivalent(case))


def _node(cluster: ClusterConfig | None, partition: str | None) -> ClusterConfig | None:
    """The profile of the partition that the script names, else of the profile's own.

    None where it is not in the profile: another one's sizes would say nothing.
    """
    if cluster is None:
        return None
    named = partition or (None if cluster.partition == "auto" else cluster.partition)
    if named is None and cluster.partitions:
        return None
    if not cluster.partitions and partition not in (None, cluster.partition):
        return replace(cluster, partition=partition) if cluster.partition is None else None
    try:
        # What the profile says of its usual partition does not hold for another one.
        return placed(replace(cluster, partition=named))
    except ConfigError:
        return None


def doctor_script(
    path: Path, cluster: ClusterConfig | None = None, measured: Measured | None = None
) -> list[ScriptFinding]:
    """What is wrong with a batch script, the cause first; empty where nothing is."""
    return list(examine(path, cluster, measured).findings)
