"""What scontrol and sacct say of a job, understood. Pure; texts as 22.05 and later write them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

ACCOUNT_FIELDS = ("JobID", "State", "ExitCode", "Start", "End", "NodeList")
"""What sacct is asked for."""
_UNITS_GB = {"K": 2.0**-20, "M": 2.0**-10, "": 2.0**-10, "G": 1.0, "T": 2.0**10}
_CLOCK_SLACK_S = 2.0
"""slurmctld's whole seconds against the clock of a node."""


@dataclass(frozen=True, kw_only=True)
class JobFacts:
    """A job in the words of `scontrol show job`."""

    state: str
    reason: str = ""
    """Empty where scontrol says `None`."""
    restarts: int = 0
    is_preempted: bool = False
    """Whether it has a PreemptTime: somebody with more priority wants its nodes."""
    started_s: float | None = None
    """Start of this life, in seconds since the epoch."""
    limit_min: float | None = None
    """Time limit [min]."""
    nodes: tuple[str, ...] = ()
    mem_gb: float | None = None
    """Memory it may use on each node [GB]."""
    excluded: tuple[str, ...] = ()
    partition: str = ""
    stdout: str = ""
    """File that the batch script writes to."""

    @property
    def limit_end_s(self) -> float | None:
        """When the time limit ends this life, in seconds since the epoch."""
        if self.started_s is None or self.limit_min is None:
            return None
        return self.started_s + self.limit_min * 60

    @property
    def is_held(self) -> bool:
        """Whether it waits for its user to release it."""
        return self.reason in ("JobHeldUser", "job_requeued_in_held_state")


@dataclass(frozen=True, kw_only=True)
class Account:
    """One life of a job in the words of `sacct`."""

    state: str
    """E.g. `CANCELLED by 1000`."""
    nodes: tuple[str, ...] = ()
    steps: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Step -> state and exit code, e.g. `0` -> `OUT_OF_MEMORY`, `0:125`."""


def parse_job(text: str) -> JobFacts:
    """Read `scontrol show job <id>`.

    Fields are found at the begin of their lines, where no name of a job can stand.
    """
    nodes = expand(_field(text, "NodeList"))
    return JobFacts(
        state=_field(text, "JobState"),
        reason=_plain(_field(text, "Reason", after="JobState")),
        restarts=int(_field(text, "Restarts", after="Requeue") or 0),
        is_preempted=bool(_plain(_field(text, "PreemptTime", after="PreemptEligibleTime"))),
        started_s=_moment(_field(text, "StartTime")),
        limit_min=_minutes(_field(text, "TimeLimit", after="RunTime")),
        nodes=nodes,
        mem_gb=_memory_gb(text, len(nodes)),
        excluded=expand(_field(text, "ExcNodeList", after="ReqNodeList")),
        partition=_field(text, "Partition"),
        stdout=_rest_of_line(text, "StdOut"),
    )


def parse_account(text: str, since_s: float | None, restart: int) -> Account | None:
    """Read the answer of sacct with ACCOUNT_FIELDS and all lives; picks one of them.

    Args:
        text: Lines with `|` between the fields.
        since_s: When that life was under way, in seconds since the epoch; None goes by its number.
        restart: How many lives came before.

    Returns:
        None where the accounts do not know that life, which may take them seconds.
    """
    rows = [line.split("|") for line in text.splitlines() if line.count("|") >= 5]
    lives = [row for row in rows if "." not in row[0]]
    if since_s is None:
        found = lives[restart : restart + 1]
    else:
        found = [row for row in lives if _was_under_way(row, since_s)]
    if not found:
        return None
    life = found[-1]
    begin_s, end_s = _moment(life[3]), _moment(life[4])
    steps = {
        row[0].rpartition(".")[2]: (row[1], row[2])
        for row in rows
        if "." in row[0] and _is_within(_moment(row[3]), begin_s, end_s)
    }
    return Account(state=life[1], nodes=expand(life[5]), steps=steps)


def _was_under_way(row: list[str], since_s: float) -> bool:
    begin_s, end_s = _moment(row[3]), _moment(row[4])
    return begin_s is not None and _is_within(since_s, begin_s, end_s)


def _is_within(moment_s: float | None, begin_s: float | None, end_s: float | None) -> bool:
    if moment_s is None or begin_s is None or moment_s < begin_s - _CLOCK_SLACK_S:
        return False
    return end_s is None or moment_s <= end_s + _CLOCK_SLACK_S


def expand(nodes: str) -> tuple[str, ...]:
    """Names of a list of nodes, e.g. `gl[001-003,007],cpu1`."""
    names: list[str] = []
    for part in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", _plain(nodes)):
        names += _expand_one(part)
    return tuple(names)


def _expand_one(pattern: str) -> list[str]:
    found = re.match(r"([^\[]*)\[([^\]]*)\](.*)", pattern)
    if found is None:
        return [pattern]
    before, ranges, after = found.groups()
    numbers: list[str] = []
    for part in ranges.split(","):
        first, _, last = part.partition("-")
        last = last or first
        numbers += [f"{n:0{len(first)}d}" for n in range(int(first), int(last) + 1)]
    return [before + number + rest for number in numbers for rest in _expand_one(after)]


def usable_nodes(rows: Iterable[str]) -> list[tuple[str, float]]:
    """Nodes that can take jobs, with their memory [GB], from lines `name|state|memory in MB`."""
    found = {}
    for row in rows:
        name, state, memory = row.strip().split("|")
        if re.match(r"(idle|mix|alloc|compl|plan|resv|reserved)", state) and "*" not in state:
            found[name] = float(memory.rstrip("+")) / 1024
    return sorted(found.items())


def _field(text: str, name: str, after: str | None = None) -> str:
    start = rf"^\s*{after}=.*?\s" if after else r"^\s*"
    found = re.search(rf"{start}{name}=(\S*)", text, re.MULTILINE)
    return found.group(1) if found else ""


def _rest_of_line(text: str, name: str) -> str:
    found = re.search(rf"^\s*{name}=(.*)$", text, re.MULTILINE)
    return found.group(1).strip() if found else ""


def _plain(value: str) -> str:
    return "" if value in ("None", "(null)", "N/A", "Unknown", "None assigned") else value


def _moment(stamp: str) -> float | None:
    """Seconds since the epoch; SLURM writes local time."""
    try:
        return datetime.fromisoformat(stamp).timestamp()
    except ValueError:
        return None  # `Unknown`, `None`, or a field that this version does not have


def _minutes(limit: str) -> float | None:
    found = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d+):(\d+)", limit)
    if found is None:
        return None  # UNLIMITED, Partition_Limit
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return (days * 24 + hours) * 60 + minutes + seconds / 60


def _memory_gb(text: str, num_nodes: int) -> float | None:
    """Memory per node, from what was given in all; what was asked may be per core."""
    for name in ("AllocTRES", "TRES", "ReqTRES"):
        found = re.search(rf"^\s*{name}=\S*?\bmem=([\d.]+)([KMGT]?)", text, re.MULTILINE)
        if found:
            count = num_nodes or int(re.match(r"\d+", _field(text, "NumNodes") or "1").group())  # type: ignore[union-attr]
            return float(found.group(1)) * _UNITS_GB[found.group(2)] / max(count, 1)
    return None
