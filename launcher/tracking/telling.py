"""What W&B is told of a run besides what its training logged: lives, memory, the end. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launcher import store
from launcher.records import AttemptRecord, RankUse
from launcher.tracking import lives


def telemetry(run_dir: Path, attempt: str) -> dict[str, float]:
    """What rank 0 and its node were seen to take so far: most memory [GB], mean speed and power."""
    use = store.find_record(run_dir / "attempts" / f"{attempt}.use" / "0.json", RankUse)
    if use is None or not use.phases:
        return {}
    found = {
        "memory/node_gb": max((p.node_gb or 0.0 for p in use.phases), default=0.0),
        "memory/rank_gb": max(p.rank_gb for p in use.phases),
        "memory/workers_gb": max(p.workers_gb for p in use.phases),
        "memory/gpu_gb": max((p.gpu_gb or 0.0 for p in use.phases), default=0.0),
        "memory/limit_gb": use.mem_gb or 0.0,
        "speed/samples_per_s_mean": use.samples_per_s or 0.0,
        "gpu/utilization": use.gpu_utilization or 0.0,
        "gpu/power_w": use.gpu_power_w or 0.0,
    }
    return {name: value for name, value in found.items() if value}


def summary(run_dir: Path, record: AttemptRecord | None) -> dict[str, Any]:
    """What stands for the whole run: its lives, how it ended, what it returned."""
    told = lives.of_run(run_dir)
    found: dict[str, Any] = {"lives": told, "num_lives": len(told)}
    if record is not None:
        found["outcome"] = record.outcome or f"stopped by {record.stop_signal}"
        found["error"] = record.error
        found.update(flat("result", record.result))
    return found


def alarm(run_dir: Path) -> str:
    """Why a run was given up and will not go on by itself; empty where it was not."""
    verdicts = store.verdicts(run_dir)
    if not verdicts or verdicts[-1].action != "stop":
        return ""
    last = verdicts[-1]
    return f"{last.outcome}: {last.note or last.evidence[0]}"


def flat(prefix: str, tree: Any) -> dict[str, Any]:
    """Numbers and words of nested plain values, with slashes between the names."""
    if isinstance(tree, Mapping):
        found: dict[str, Any] = {}
        for key, below in tree.items():
            found.update(flat(f"{prefix}/{key}", below))
        return found
    return {prefix: tree} if isinstance(tree, (bool, int, float, str)) else {}
