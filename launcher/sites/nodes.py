"""What a job in a partition can rely on: its usual node. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from launcher.sites.facts import Node

_AWAY = ("DOWN", "DRAIN", "FAIL", "MAINT", "NOT_RESPONDING", "*")


@dataclass(frozen=True, kw_only=True)
class UsualNode:
    """The smallest of the nodes that have the most frequent kind and number of GPUs."""

    gpu_type: str
    """Empty where GPUs have no type, or there are none."""
    gpus: int
    cpus: int
    mem_gb: float
    count: int
    """How many such nodes, those that are away included."""
    away: int
    """How many of them are down or drained at the moment."""
    remarks: tuple[str, ...] = ()


def usual(nodes: Sequence[Node]) -> UsualNode | None:
    """The node to count with; None where the partition has none."""
    there = [node for node in nodes if "FUTURE" not in node.state]
    if not there:
        return None
    kinds = Counter(_gpus(node) for node in there)
    # Of equally many, the one with more GPUs.
    (gpu_type, gpus), _ = max(kinds.items(), key=lambda item: (item[1], item[0][1], item[0][0]))
    same = [node for node in there if _gpus(node) == (gpu_type, gpus)]
    return UsualNode(
        gpu_type=gpu_type,
        gpus=gpus,
        cpus=min(node.cpus for node in same),
        mem_gb=math.floor(min(node.mem_gb for node in same) * 10) / 10,
        count=len(same),
        away=sum(any(word in node.state.upper() for word in _AWAY) for node in same),
        remarks=(*_other_kinds(kinds, (gpu_type, gpus)), *_differences(same)),
    )


def _gpus(node: Node) -> tuple[str, int]:
    """The most frequent type of a node, and how many of it."""
    if not node.gpus:
        return "", 0
    return max(node.gpus.items(), key=lambda item: (item[1], item[0]))


def _other_kinds(kinds: Counter[tuple[str, int]], taken: tuple[str, int]) -> list[str]:
    others = [
        f"{count} with {gpus} x {kind or 'GPU'}" if gpus else f"{count} without GPUs"
        for (kind, gpus), count in sorted(kinds.items())
        if (kind, gpus) != taken
    ]
    return [f"other nodes, not counted: {', '.join(others)}"] if others else []


def _differences(nodes: Sequence[Node]) -> list[str]:
    found = []
    cpus, memory = ({n.cpus for n in nodes}, {round(n.mem_gb) for n in nodes})
    if len(cpus) > 1:
        found.append(f"nodes differ: {min(cpus)} to {max(cpus)} CPUs, the fewest are taken")
    if len(memory) > 1:
        found.append(f"nodes differ: {min(memory)} to {max(memory)} GB, the least is taken")
    mixed = [node.name for node in nodes if len(node.gpus) > 1]
    if mixed:
        found.append(f"several types of GPU on {', '.join(mixed[:4])}: the most frequent is taken")
    return found
