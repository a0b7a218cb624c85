"""What SLURM gives to a job or a step that asks in these words. Pure.

An unknown number is None: a rule that needs it does not speak.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from launcher.halves import memory_gb, minutes

_T = TypeVar("_T")
UNLIMITED = ("infinite", "unlimited", "0", "-1")
GPU_COUNTS = ("gpus", "gpus-per-node", "gpus-per-task", "gpus-per-socket")
"""Options that count GPUs, perhaps of a type."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Nodes, tasks and GPUs of a job, or of one of its steps."""

    nodes: int | None
    ntasks: int | None
    tasks_per_node: int | None
    gpus_per_node: int | None
    """0 where nobody asks for one."""
    gpu_type: str | None
    cpus_per_task: int | None
    mem_gb: float | None
    """Memory of each node [GB]; None where the site's default holds."""
    is_all_memory: bool
    """`--mem=0`: all that a node has."""
    time_min: int | None

    @property
    def gpus(self) -> int | None:
        """GPUs in all."""
        if self.gpus_per_node is None or self.nodes is None:
            return 0 if self.gpus_per_node == 0 else None
        return self.gpus_per_node * self.nodes


def asked_by(options: Mapping[str, str]) -> Asked:
    """Read options by name; what cannot be read counts as unknown."""
    tasks, per_node = number(options.get("ntasks")), number(options.get("ntasks-per-node"))
    nodes = _nodes(options, tasks, per_node)
    if tasks is None:
        tasks = _ntasks(options, nodes, per_node)
    # With --ntasks given, --ntasks-per-node is only a maximum.
    even = None if tasks is None or not nodes else -(-tasks // nodes)
    per_node = even if per_node is None or even is None else min(per_node, even)
    gpus_per_node = _gpus_per_node(options, nodes, tasks, per_node)
    cpus = number(options.get("cpus-per-task"))
    if cpus is None and (per_gpu := number(options.get("cpus-per-gpu"))) and gpus_per_node:
        cpus = per_gpu * gpus_per_node // per_node if per_node else None
    elif cpus is None and "cpus-per-task" not in options:
        cpus = 1
    memory = _tried(memory_gb, options.get("mem"))
    return Asked(
        nodes=nodes,
        ntasks=tasks,
        tasks_per_node=per_node,
        gpus_per_node=gpus_per_node,
        gpu_type=_gpu_type(options),
        cpus_per_task=cpus,
        mem_gb=memory or _mem_of_parts(options, per_node, cpus, gpus_per_node),
        is_all_memory=memory == 0,
        time_min=_time_min(options.get("time")),
    )


def number(text: str | None) -> int | None:
    """A count, e.g. `4`; None where there is none or it is not one."""
    return int(text) if text is not None and text.strip().isdigit() else None


def _nodes(options: Mapping[str, str], tasks: int | None, per_node: int | None) -> int | None:
    if "nodes" in options:
        return number(options["nodes"].partition("-")[0])
    if tasks is not None and per_node:
        return -(-tasks // per_node)
    if (gpus := _typed_count(options.get("gpus"))) is not None:
        each = _typed_count(options.get("gpus-per-node"))
        return max(gpus // each, 1) if each else (1 if gpus == 1 else None)
    # More tasks without --nodes go wherever there is room.
    return 1 if tasks == 1 or "ntasks" not in options else None


def _ntasks(options: Mapping[str, str], nodes: int | None, per_node: int | None) -> int | None:
    if "ntasks" in options:
        return None
    if per_node is not None:
        return None if nodes is None else nodes * per_node
    gpus = _typed_count(options.get("gpus"))
    if gpus is None and nodes is not None and (each := _gres_of(options)) is not None:
        gpus = nodes * each
    if gpus and (per_gpu := number(options.get("ntasks-per-gpu"))):
        return gpus * per_gpu
    per_task = _typed_count(options.get("gpus-per-task"))
    if gpus and per_task:
        return gpus // per_task
    return nodes


def _gres_of(options: Mapping[str, str]) -> int | None:
    """GPUs of a node by the options that count them per node."""
    if "gpus-per-node" in options:
        return _typed_count(options["gpus-per-node"])
    if "gres" in options:
        counts = [count for _, count in gres_gpus(options["gres"])]
        return None if None in counts else sum(count or 0 for count in counts)
    return None


def _gpus_per_node(
    options: Mapping[str, str], nodes: int | None, tasks: int | None, per_node: int | None
) -> int | None:
    if (each := _gres_of(options)) is not None:
        return each
    if "gpus" in options:
        gpus = _typed_count(options["gpus"])
        return None if gpus is None or not nodes else -(-gpus // nodes)
    if "gpus-per-task" in options:
        each = _typed_count(options["gpus-per-task"])
        return None if each is None or per_node is None else each * per_node
    if (per_gpu := number(options.get("ntasks-per-gpu"))) and tasks and nodes:
        return tasks // per_gpu // nodes
    unread = {"gpus-per-socket", "tres-per-task", "gpus-per-node", "gres"} & set(options)
    return None if unread else 0


def gres_gpus(text: str) -> Iterator[tuple[str | None, int | None]]:
    """Type and number of each kind of GPU in a `--gres` list."""
    for part in text.split(","):
        name, *rest = part.removeprefix("gres:").removeprefix("gres/").split(":")
        if name == "gpu":
            count = rest.pop() if rest and rest[-1].isdigit() else "1"
            if rest and "$" in rest[-1]:
                yield None, None
            else:
                yield (rest[0] if rest else None), int(count)


def _typed_count(text: str | None) -> int | None:
    """GPUs in `4`, `h200:4` or `a100:2,l40s:2`."""
    if text is None:
        return None
    counts = [part.rpartition(":")[2] for part in text.split(",")]
    return sum(int(one) for one in counts) if all(one.isdigit() for one in counts) else None


def _gpu_type(options: Mapping[str, str]) -> str | None:
    kinds = [kind for kind, _ in gres_gpus(options.get("gres", "")) if kind]
    for name in GPU_COUNTS:
        kind, colon, _ = options.get(name, "").partition(":")
        kinds.extend([kind] if colon else [])
    return kinds[0] if kinds else None


def _mem_of_parts(
    options: Mapping[str, str], per_node: int | None, cpus: int | None, gpus: int | None
) -> float | None:
    """Memory of a node that is asked for by CPU or by GPU [GB]."""
    by_cpu = _tried(memory_gb, options.get("mem-per-cpu"))
    if by_cpu is not None and per_node and cpus:
        return by_cpu * per_node * cpus
    by_gpu = _tried(memory_gb, options.get("mem-per-gpu"))
    return by_gpu * gpus if by_gpu is not None and gpus else None


def _time_min(text: str | None) -> int | None:
    return None if text is None or text.lower() in UNLIMITED else _tried(minutes, text)


def _tried(read: Callable[[str], _T], text: str | None) -> _T | None:
    """A value, or None: what cannot be read has a finding of its own."""
    if text is None:
        return None
    try:
        return read(text)
    except ValueError:
        return None
