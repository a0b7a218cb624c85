"""Keys that say one half of what a shape says as a whole: accepted only where they agree. Pure.

Tasks and GPUs, `--mem` and `--mem-per-cpu`, the Trainer's devices and the ranks that srun starts:
each pair has one source, `resources`. People bring the other halves with them, from settings of
hydra-submitit-launcher, from sbatch options and from Lightning.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from launcher.errors import ConfigError
from launcher.settings import KeysConfig, StudyLauncherConf
from launcher.topology import Shape

_WHOLE = "set the shape as a whole: resources.gpus (or nodes and gpus_per_node), cpus_per_rank,"
_HINT = f"{_WHOLE} mem_gb, timeout_min, below hydra.launcher if your config has no `resources`"
_UNITS_GB = {"K": 2.0**-20, "M": 2.0**-10, "": 2.0**-10, "G": 1.0, "T": 1024.0}
_OURS: Mapping[str, str] = {
    "array": "runs of one shape are one array already; hydra.launcher.array_parallelism bounds it",
    "comment": "use hydra.launcher.comment; ours is how a sending is found after a crash",
    "error": "logs lie in hydra.launcher.submitit_folder, where `launch logs` finds them",
    "output": "logs lie in hydra.launcher.submitit_folder, where `launch logs` finds them",
    "open-mode": "logs are appended to, so that those of earlier lives are kept",
    "export": "variables for jobs go into cluster.job_environment",
    "signal": "use hydra.launcher.signal_delay_s",
    "wrap": "the script is made by the launcher; shell lines go into hydra.launcher.setup",
}
"""Options of sbatch on which the launcher itself depends."""
_SHORT = {"N": "nodes", "n": "ntasks", "c": "cpus-per-task", "t": "time", "G": "gpus"}
_SHORT |= {"a": "array", "e": "error", "o": "output", "tasks-per-node": "ntasks-per-node"}
_MINUTES = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?$")


def check(settings: StudyLauncherConf, shape: Shape) -> None:
    """Refuse settings that contradict the shape, or say a half that the shape leaves open.

    Raises:
        ConfigError: the first such setting.
    """
    stock = {
        "nodes": settings.nodes,
        "ntasks-per-node": settings.tasks_per_node,
        "gpus-per-node": settings.gpus_per_node,
        "cpus-per-task": settings.cpus_per_task,
        "time": settings.timeout_min,
        "mem": None if settings.mem_gb is None else f"{settings.mem_gb}G",
        "gres": settings.gres,
        "gpus-per-task": settings.gpus_per_task,
        "cpus-per-gpu": settings.cpus_per_gpu,
        "mem-per-gpu": settings.mem_per_gpu,
        "mem-per-cpu": settings.mem_per_cpu,
    }
    for option, value in stock.items():
        if value is not None:
            key = _STOCK_NAMES.get(option, option.replace("-", "_"))
            _compare(f"hydra.launcher.{key}", option, value, shape)
    for name, value in (settings.additional_parameters or {}).items():
        option = _SHORT.get(name, name.replace("_", "-"))
        key = f"hydra.launcher.additional_parameters.{name}"
        if option in _OURS:
            raise ConfigError(f"`{key}={value}` is the launcher's to say", hint=_OURS[option])
        _compare(key, option, value, shape)


_STOCK_NAMES = {"ntasks-per-node": "tasks_per_node", "time": "timeout_min", "mem": "mem_gb"}


def check_trainer(select: Callable[[str], Any], keys: KeysConfig, shape: Shape) -> None:
    """Refuse a config whose Trainer would start another number of ranks than the scheduler.

    Args:
        select: Value of a dotted key of the composed config, None where it has no such key.
        keys: Names of the keys.
        shape: What the scheduler will start.

    Raises:
        ConfigError: `devices` or `num_nodes` differ from the shape.
    """
    for key, derived in ((keys.devices, shape.ranks_per_node), (keys.num_nodes, shape.nodes)):
        value = select(key)
        if value is None or value in ("auto", -1, "-1"):
            continue
        count = len(value) if _is_list(value) else value
        if str(count) != str(derived):
            raise ConfigError(
                f"`{key}={value}` is half of a shape: `resources` says {shape}, hence"
                f" {derived} of them",
                hint=f"leave {key} alone or write {key}={derived}; resources.gpus=... changes both",
            )


def _is_list(value: Any) -> bool:
    return not isinstance(value, str) and isinstance(value, Iterable)


def _compare(key: str, option: str, value: Any, shape: Shape) -> None:
    derived = _derived(option, shape)
    if derived is _UNRELATED:
        return
    try:
        read: Callable[[Any], Any] = _READERS.get(option, _count)
        said = read(value)
    except ValueError as error:
        raise ConfigError(f"`{key}={value}` cannot be read: {error}", hint=_HINT) from error
    if said != derived and not (_is_memory(option) and _is_near(said, derived)):
        shown = "left to the site" if derived is None else _shown(option, derived)
        raise ConfigError(
            f"`{key}={value}` contradicts the shape {shape}, by which it is {shown}", hint=_HINT
        )


_UNRELATED = object()


def _derived(option: str, shape: Shape) -> Any:
    """What the shape says in place of an option of sbatch; `_UNRELATED` if it says nothing."""
    gpus = shape.gpus_per_node
    per_gpu = None if not gpus or shape.mem_gb is None else shape.mem_gb / gpus
    per_cpu = None if shape.mem_gb is None else shape.mem_gb / shape.cpus
    return {
        "nodes": shape.nodes,
        "ntasks": shape.world_size,
        "ntasks-per-node": shape.ranks_per_node,
        "cpus-per-task": shape.cpus_per_rank,
        "gpus-per-node": gpus,
        "gpus": gpus * shape.nodes,
        "gres": gpus,
        "gpus-per-task": 1 if gpus else 0,
        "ntasks-per-gpu": 1 if gpus else 0,
        "cpus-per-gpu": shape.cpus_per_rank if gpus else 0,
        "time": shape.timeout_min,
        "mem": shape.mem_gb,
        "mem-per-gpu": per_gpu,
        "mem-per-cpu": per_cpu,
    }.get(option, _UNRELATED)


def _count(value: Any) -> int:
    """A number, or the number behind a type as in `l40s:4`."""
    text = str(value).rpartition(":")[2]
    if not text.isdigit():
        raise ValueError("not a number")
    return int(text)


def _gres_gpus(value: Any) -> int:
    """GPUs of a `--gres` list, which may name other things too."""
    counts = [
        int(parts[-1]) if parts[-1].isdigit() else 1
        for parts in (part.split(":") for part in str(value).split(","))
        if parts[0] == "gpu"
    ]
    return sum(counts)


def other_gres(value: str | None) -> list[str]:
    """What a `--gres` list names besides GPUs, e.g. `nvme:1`."""
    parts = value.split(",") if value else []
    return [part for part in parts if part.split(":")[0] != "gpu"]


def memory_gb(value: Any) -> float:
    """Memory as sbatch reads it, e.g. `64G` or `65536` (MB), in GB.

    Raises:
        ValueError: it is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", str(value).strip().upper())
    if found is None:
        raise ValueError("memory is written like 64G")
    return float(found.group(1)) * _UNITS_GB[found.group(2)]


def minutes(value: Any) -> int:
    """A time limit as sbatch reads it, in minutes, rounded up.

    Raises:
        ValueError: it is none.
    """
    found = _MINUTES.match(str(value))
    if found is None:
        raise ValueError("a time is written like 90, 1:30:00 or 2-00:00:00")
    days, *rest = found.groups()
    parts = [int(part) for part in rest if part is not None]
    if days is not None:
        hours, mins, secs = (*parts, 0, 0)[:3]
        return int(days) * 1440 + hours * 60 + mins + (secs > 0)
    if len(parts) == 3:
        return parts[0] * 60 + parts[1] + (parts[2] > 0)
    return parts[0] + (len(parts) == 2 and parts[1] > 0)


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "gres": _gres_gpus,
    "time": minutes,
    "mem": memory_gb,
    "mem-per-gpu": memory_gb,
    "mem-per-cpu": memory_gb,
}


def _is_memory(option: str) -> bool:
    return option.startswith("mem")


def _is_near(said: float, derived: float | None) -> bool:
    """Within what rounding to MB leaves."""
    return derived is not None and abs(said - derived) <= 0.01 * derived


def _shown(option: str, derived: Any) -> str:
    if _is_memory(option):
        return f"{derived:g} GB"
    return f"{derived} min" if option == "time" else str(derived)
