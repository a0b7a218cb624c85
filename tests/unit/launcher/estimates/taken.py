"""Attempts that took what a formula says, as the telemetry would have written them."""

from pathlib import Path
from typing import Any

from launcher.measures import Measure
from launcher.records import LoaderUse, Phase, PhaseUse, RankUse

RANK_GB, TRAIN_WORKER_GB, VAL_WORKER_GB, PROCESS_GB = 2.0, 0.25, 0.75, 0.01
BATCH_GB, PREFETCH = 0.02, 2
WEIGHTS_GB, GRADIENTS_GB, OPTIMIZER_GB = 0.2, 0.2, 0.4
MICRO = 16


KEPT_GB = {"train": WEIGHTS_GB, "validate": WEIGHTS_GB + GRADIENTS_GB + OPTIMIZER_GB}
"""State that workers of a kind keep together, as it was when they were forked."""


def node_gb(
    ranks: int,
    workers: int,
    val_workers: int,
    extra_rank_gb: float = 0.0,
    *,
    has_gpu: bool = False,
) -> float:
    """A node with so many living workers of each rank."""
    train = workers * (TRAIN_WORKER_GB + PREFETCH * BATCH_GB + PROCESS_GB)
    val = val_workers * (VAL_WORKER_GB + PREFETCH * BATCH_GB + PROCESS_GB)
    train += KEPT_GB["train"] if workers and not has_gpu else 0.0
    val += KEPT_GB["validate"] if val_workers and not has_gpu else 0.0
    exchange = GRADIENTS_GB if ranks > 1 else 0.0
    return ranks * (RANK_GB + exchange + PROCESS_GB + train + val + extra_rank_gb)


def measure(
    ranks: int = 1,
    workers: int = 2,
    val_workers: int = 1,
    *,
    is_persistent: bool = False,
    lingers: bool = True,
    phases: tuple[Phase, ...] = ("train", "validate"),
    has_cgroup: bool = True,
    extra_rank_gb: float = 0.0,
    extra_worker_gb: float = 0.0,
    number: int = 1,
    **changes: Any,
) -> Measure:
    """An attempt on one node; workers for validation linger while it trains unless told."""
    uses = []
    for rank in range(ranks):
        record: dict[str, Any] = {
            "attempt": f"{number:03d}-000",
            "key": "k",
            "rank": rank,
            "local_rank": rank,
            "host": "gl001",
            "world_size": ranks,
            "num_nodes": 1,
            "ranks_per_node": ranks,
            "cpus_per_rank": 1,
            "mem_gb": 64.0,
            "loaders": [
                _loader("train", workers, is_persistent),
                _loader("validate", val_workers, is_persistent),
            ],
            "micro_batch_size": MICRO,
            "weights_gb": WEIGHTS_GB,
            "gradients_gb": GRADIENTS_GB,
            "optimizer_gb": OPTIMIZER_GB,
            "phases": [
                _phase(
                    phase,
                    ranks,
                    workers,
                    val_workers if lingers or phase == "validate" else 0,
                    has_cgroup=has_cgroup and rank == 0,
                    extra_rank_gb=extra_rank_gb,
                    extra_worker_gb=extra_worker_gb,
                    has_gpu="gpu_mem_gb" in changes,
                )
                for phase in phases
            ],
            "validations": 2,
            "outcome": "completed",
        }
        uses.append(RankUse(**(record | changes)))
    return Measure(uses, Path("nowhere") / "run", f"{number:03d}-000")


def _loader(stage: Any, workers: int, is_persistent: bool) -> LoaderUse:
    return LoaderUse(
        stage=stage,
        workers=workers,
        is_persistent=is_persistent and workers > 0,
        prefetch=PREFETCH,
        batch_size=MICRO,
        batch_gb=BATCH_GB,
    )


def _phase(
    phase: Phase,
    ranks: int,
    workers: int,
    val_workers: int,
    *,
    has_cgroup: bool,
    extra_rank_gb: float,
    extra_worker_gb: float,
    has_gpu: bool,
) -> PhaseUse:
    count = workers + val_workers
    exchange = GRADIENTS_GB if ranks > 1 else 0.0
    base_gb = RANK_GB + exchange + extra_rank_gb
    private_gb = workers * TRAIN_WORKER_GB + val_workers * VAL_WORKER_GB
    private_gb += count * (PREFETCH * BATCH_GB + extra_worker_gb)
    for stage, alike in (("train", workers), ("validate", val_workers)):
        kept_gb = 0.0 if has_gpu else KEPT_GB[stage]
        # One alone holds it for itself.
        private_gb += kept_gb if alike == 1 else 0.0
        base_gb += kept_gb if alike > 1 else 0.0
    # Pages that a family shares are counted by part, whoever holds them.
    shared_gb = base_gb * count / (count + 1)
    node = node_gb(ranks, workers, val_workers, extra_rank_gb, has_gpu=has_gpu)
    node += ranks * count * extra_worker_gb
    return PhaseUse(
        phase=phase,
        seconds=10,
        looks=5,
        node_gb=node if has_cgroup else None,
        rank_gb=base_gb - shared_gb,
        workers=count,
        workers_gb=shared_gb + private_gb,
        worker_private_gb=private_gb / count if count else 0.0,
    )
