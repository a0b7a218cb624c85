"""Reads what scontrol and sacctmgr print, as SLURM 20.11 to 24.05 write it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from launcher.sites.facts import Accounts, Association, Node, Partition, Qos

_SETTING = re.compile(r"^(\w+)[ \t]*=[ \t]*(.*?)[ \t]*$", re.MULTILINE)
_FIELD = re.compile(r"(?:^|\s)([A-Za-z][\w/:]*)=(.*?)(?=\s+[A-Za-z][\w/:]*=|\s*$)")
_GRES = re.compile(r"(?:^|,)gpu(?::([^:,]+))?:(\d+)(?=,|$)")
_NOTHING = ("", "(null)", "N/A", "NONE", "None", "UNLIMITED", "INFINITE", "Partition_Limit")
_MEM_UNITS_GB = {"K": 2.0**-20, "M": 2.0**-10, "": 2.0**-10, "G": 1.0, "T": 2.0**10}


def settings(text: str) -> dict[str, str]:
    """`scontrol show config`: name -> value."""
    return dict(_SETTING.findall(text))


def records(text: str) -> list[dict[str, str]]:
    """`scontrol --oneliner show ...`: one record per line.

    Of a name that comes twice, the first: reasons and comments come last, and may hold anything.
    """
    found = []
    for line in text.splitlines():
        record: dict[str, str] = {}
        for name, value in _FIELD.findall(line.strip()):
            record.setdefault(name, value)
        if record:
            found.append(record)
    return found


def node(record: Mapping[str, str]) -> Node:
    """A record of `scontrol show node`."""
    # CPUEfctv, of 22.05 and later, leaves out cores that are kept for the system.
    cpus = _number(record.get("CPUEfctv")) or _number(record.get("CPUTot")) or 0
    kept_mb = _number(record.get("MemSpecLimit")) or 0
    return Node(
        name=record.get("NodeName", ""),
        cpus=cpus,
        mem_gb=((_number(record.get("RealMemory")) or 0) - kept_mb) / 1024,
        gpus=gpus(record.get("Gres", "")),
        partitions=_words(record.get("Partitions")),
        state=record.get("State", "UNKNOWN"),
        host=record.get("NodeHostName", record.get("NodeName", "")),
    )


def gpus(gres: str) -> dict[str, int]:
    """GPUs by type in a node's Gres, e.g. `gpu:a100:4(S:0-1),shard:8`."""
    found: dict[str, int] = {}
    for kind, count in _GRES.findall(re.sub(r"\([^)]*\)|:no_consume", "", gres)):
        found[kind] = found.get(kind, 0) + int(count)
    return found


def partition(record: Mapping[str, str]) -> Partition:
    """A record of `scontrol show partition`."""
    return Partition(
        name=record.get("PartitionName", ""),
        is_default=record.get("Default") == "YES",
        is_up=record.get("State", "UP") == "UP",
        qos=_value(record.get("QoS")),
        max_time_min=minutes(record.get("MaxTime")),
        max_nodes=_number(record.get("MaxNodes")),
        max_cpus_per_node=_number(record.get("MaxCPUsPerNode")),
        max_mem_gb_per_node=_mb_as_gb(record.get("MaxMemPerNode")),
        priority_tier=_number(record.get("PriorityTier")) or 1,
        preempt_mode=record.get("PreemptMode", ""),
        grace_time_s=_number(record.get("GraceTime")) or 0,
        groups=_choice(record.get("AllowGroups")),
        accounts=_choice(record.get("AllowAccounts")),
        denied_accounts=_choice(record.get("DenyAccounts")),
        qos_choices=_choice(record.get("AllowQos")),
        denied_qos=_choice(record.get("DenyQos")),
    )


def table(text: str) -> list[dict[str, str]]:
    """`sacctmgr --parsable2` with its header. Names are in small letters, without spaces.

    SLURM has changed how it writes them, e.g. `Def QOS`.
    """
    lines = [line for line in text.splitlines() if "|" in line]
    if not lines:
        return []
    names = [name.replace(" ", "").lower() for name in lines[0].split("|")]
    return [dict(zip(names, line.split("|"), strict=False)) for line in lines[1:]]


def accounts(associations: str, users: str, qos: str, cluster: str | None) -> Accounts:
    """Tables of `sacctmgr show assoc`, `show user` and `show qos`; other clusters are left out."""
    own = [
        row
        for row in table(associations)
        if row.get("user") and (cluster is None or row.get("cluster", cluster) == cluster)
    ]
    default = next((row.get("defacct", row.get("defaultaccount")) for row in table(users)), None)
    return Accounts(
        associations=tuple(_association(row) for row in own),
        default=_value(default),
        qos={row["name"]: _qos(row) for row in table(qos) if row.get("name")},
    )


def _association(row: Mapping[str, str]) -> Association:
    limits = _tres(row.get("maxtres", ""))
    return Association(
        account=row.get("account", ""),
        partition=_value(row.get("partition")),
        qos=_words(row.get("qos")),
        default_qos=_value(row.get("defqos", row.get("defaultqos"))),
        max_time_min=minutes(row.get("maxwall")),
        max_gpus_per_job=_gpus_in_tres(limits),
        max_submit=_number(row.get("maxsubmit", row.get("maxsubmitjobs"))),
    )


def _qos(row: Mapping[str, str]) -> Qos:
    per_job, per_user = _tres(row.get("maxtres", "")), _tres(row.get("maxtrespu", ""))
    return Qos(
        name=row["name"],
        preempts=_words(row.get("preempt")),
        grace_time_s=round(60 * (_as_minutes(row.get("gracetime")) or 0)),
        max_time_min=minutes(row.get("maxwall")),
        max_gpus_per_job=_gpus_in_tres(per_job),
        max_gpus_per_user=_gpus_in_tres(per_user),
        max_nodes_per_job=_number(per_job.get("node")),
        max_submit=_number(row.get("maxsubmitpu")),
    )


def minutes(text: str | None) -> int | None:
    """A time limit in whole minutes: `2-00:00:00`, `04:00:00`, `30:00`, `90`."""
    found = _as_minutes(text)
    return None if found is None else int(found)


def _as_minutes(text: str | None) -> float | None:
    value = _value(text)
    if value is None:
        return None
    days, dash, clock = value.rpartition("-")
    parts = [int(part) for part in clock.split(":") if part.isdigit()]
    if not parts:
        return None
    if dash:  # days-hours[:minutes[:seconds]]
        hours, mins, seconds = (*parts, 0, 0)[:3]
        return (int(days) * 24 + hours) * 60 + mins + seconds / 60
    if len(parts) == 3:
        return parts[0] * 60 + parts[1] + parts[2] / 60
    return parts[0] + (parts[1] / 60 if len(parts) == 2 else 0)


def _tres(text: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in text.split(",") if "=" in part)


def _gpus_in_tres(limits: Mapping[str, str]) -> int | None:
    """`gres/gpu=8`; a limit of one type, `gres/gpu:a100=4`, counts where there is no other."""
    if "gres/gpu" in limits:
        return _number(limits["gres/gpu"])
    typed = [_number(n) for name, n in limits.items() if name.startswith("gres/gpu:")]
    known = [count for count in typed if count is not None]
    return max(known) if known else None


def _value(text: str | None) -> str | None:
    return None if text is None or text in _NOTHING else text


def _number(text: str | None) -> int | None:
    found = re.match(r"\d+", text or "")
    return int(found.group()) if found else None


def _mb_as_gb(text: str | None) -> float | None:
    found = re.fullmatch(r"(\d+)([KMGT]?)", text or "")
    return float(found.group(1)) * _MEM_UNITS_GB[found.group(2)] if found else None


def _words(text: str | None) -> tuple[str, ...]:
    return tuple(filter(None, (_value(text) or "").split(",")))


def _choice(text: str | None) -> tuple[str, ...]:
    """Names of an Allow or Deny list; empty where it is for all."""
    words = _words(text)
    return () if "ALL" in words else words
