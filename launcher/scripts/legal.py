"""Values and pairs of directives that SLURM does not accept. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from launcher.halves import memory_gb, minutes
from launcher.scripts.asked import GPU_COUNTS, UNLIMITED, asked_by, number
from launcher.scripts.directives import Directives
from launcher.scripts.findings import ScriptFinding, error

_COUNTS = ("ntasks", "ntasks-per-node", "ntasks-per-gpu", "cpus-per-task", "cpus-per-gpu")
_TIME = "90, 1:30:00 or 2-00:00:00"
_TYPED = re.compile(r"([\w.-]+:)?\d+(,([\w.-]+:)?\d+)*")
_SIGNAL = re.compile(r"([RB]{1,2}:)?(SIG)?(\d+|HUP|INT|QUIT|KILL|TERM|USR1|USR2|CONT|URG)(@\d+)?")
_SHAPES: Mapping[str, tuple[re.Pattern[str], str]] = {
    "nodes": (re.compile(r"\d+[kKmM]?(-\d+)?(,\d+)*(:\d+)?"), "4 or 2-4"),
    "array": (re.compile(r"[\d,:-]+(%[1-9]\d*)?"), "0-15, 1,3,7 or 0-99%8"),
    "open-mode": (re.compile(r"append|truncate|a|t"), "append"),
    "signal": (_SIGNAL, "USR1@180 or B:USR1@180"),
    **{name: (re.compile(r"\d+"), "4") for name in _COUNTS},
    **{name: (_TYPED, "4 or h200:4") for name in GPU_COUNTS},
}


def unreadable(directives: Directives) -> Iterator[ScriptFinding]:
    """Directives whose value SLURM does not accept."""
    for one in directives.listed:
        hint = _misread(one.name, one.value)
        if hint:
            yield error(
                "option-value",
                one.line,
                f"`{one.written}` has no value that SLURM reads: `{one.value}`"
                + (" (the shell's variables are not known to sbatch)" if "$" in one.value else ""),
                f"write it like {hint}",
            )


_EXCLUDE = (
    ("mem", "mem-per-cpu"),
    ("mem", "mem-per-gpu"),
    ("mem-per-cpu", "mem-per-gpu"),
    ("cpus-per-task", "cpus-per-gpu"),
    ("ntasks-per-node", "ntasks-per-gpu"),
    ("gpus-per-task", "ntasks-per-gpu"),
    ("gpus-per-socket", "ntasks-per-gpu"),
)
"""Pairs of which sbatch refuses the second."""


def contradicting(directives: Directives) -> Iterator[ScriptFinding]:
    """Directives that cannot stand together."""
    for first, second in _EXCLUDE:
        if directives.get(first) and directives.get(second):
            yield error(
                "options-exclude",
                directives.line(second),
                f"`{directives.written(first)}` and `{directives.written(second)}` exclude each"
                " other: sbatch refuses the script",
                f"keep `{directives.written(first)}`",
            )
    yield from _gpus_twice(directives)


def _gpus_twice(directives: Directives) -> Iterator[ScriptFinding]:
    """GPUs of a node, or of the job, that are said twice and differ."""
    per_node = {
        name: asked_by({name: directives.value(name) or ""}).gpus_per_node
        for name in ("gres", "gpus-per-node")
        if directives.get(name)
    }
    if len(per_node) == 2 and None not in per_node.values() and len({*per_node.values()}) == 2:
        yield _differ(directives, "gres", "gpus-per-node")
    total = number((directives.value("gpus") or "").rpartition(":")[2])
    nodes = number(directives.value("nodes"))
    for name, each in per_node.items():
        if total and each and nodes and total != each * nodes:
            yield _differ(directives, name, "gpus")


def _differ(directives: Directives, first: str, second: str) -> ScriptFinding:
    return error(
        "gpus-twice",
        directives.line(second),
        f"`{directives.written(first)}` and `{directives.written(second)}` say different numbers"
        " of GPUs",
        f"keep `{directives.written(first)}`",
    )


def _misread(name: str, value: str) -> str | None:
    """How a value of that option is written, where this one is not."""
    if name in _SHAPES:
        shape, hint = _SHAPES[name]
        return None if shape.fullmatch(value) else hint
    if name == "time" and value.lower() not in UNLIMITED:
        return _TIME if _fails(minutes, value) else None
    if name.startswith("mem-per") or name == "mem":
        return "64G" if _fails(memory_gb, value) else None
    if name == "gres" and re.search(r"gpu:[^,:]*:(?!\d+(\(|,|$))", value):
        return "gpu:4 or gpu:h200:4"
    return None


def _fails(read: Callable[[str], float], text: str) -> bool:
    try:
        read(text)
    except ValueError:
        return True
    return False
