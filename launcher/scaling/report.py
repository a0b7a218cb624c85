"""How the speed of a training grows with its GPUs, and what limits it. Pure.

Runs are compared within a group: the same profile at the same kind of place. Speed-up counts from
the fastest attempt on the fewest ranks of the group.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from launcher import footprint
from launcher.measures import Measure
from launcher.records import Outcome

WAITS_FROM = 0.2
"""Share of a step from which on waiting for data is what limits."""
POOR_BELOW = 0.8
"""Efficiency below which something limits."""
Limit = Literal["loader", "communication", "small batch", "host", "memory"]
IDLE_BELOW = 0.6
"""GPU utilisation below which a GPU waits for its host."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """An attempt that was measured, and how people call it."""

    name: str
    group: str
    """Attempts of other groups are not compared with it."""
    measure: Measure


@dataclass(frozen=True, kw_only=True)
class Row:
    """One attempt in a report."""

    group: str
    name: str
    attempt: str
    is_probe: bool
    outcome: Outcome | None
    ranks: int
    """Training processes, which are its GPUs where it has any."""
    nodes: int
    has_gpus: bool
    gpu_type: str | None
    cpus_per_rank: int
    workers: int | None
    """Dataloader processes of each rank while it trains."""
    batch_size: int | None
    micro_batch_size: int | None
    step_s: float | None
    samples_per_s: float | None
    data_wait_share: float | None
    gpu_utilization: float | None
    host_gb: float | None
    """Most memory of its fullest node [GB]."""
    host_limit_gb: float | None
    gpu_gb: float | None
    speed_up: float | None = None
    """Samples per second relative to the base of its group."""
    efficiency: float | None = None
    """Speed-up over the growth in ranks."""
    base_ranks: int | None = None
    limit: Limit | None = None
    """What limits it; None where nothing stands out, or nothing was timed."""
    why: str = ""
    """What says so, and what helps."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """Attempts by group and number of ranks."""

    rows: Sequence[Row] = field(default_factory=list)

    def groups(self) -> list[str]:
        """Names of the groups, in order."""
        return list(dict.fromkeys(row.group for row in self.rows))

    def curve(self, group: str) -> list[Row]:
        """The fastest attempt of a group at each number of ranks, those that were timed."""
        fastest: dict[int, Row] = {}
        for row in self.rows:
            if row.group == group and row.samples_per_s is not None:
                known = fastest.get(row.ranks)
                if known is None or row.samples_per_s > (known.samples_per_s or 0.0):
                    fastest[row.ranks] = row
        return [fastest[ranks] for ranks in sorted(fastest)]


def report(samples: Iterable[Sample]) -> Report:
    """Compare attempts within their groups."""
    plain = sorted((_row(sample) for sample in samples), key=_order)
    rows: list[Row] = []
    for group in dict.fromkeys(row.group for row in plain):
        ours = [row for row in plain if row.group == group]
        base = _base(ours)
        rows += [_compared(row, base) for row in ours]
    return Report(rows=rows)


def latest(samples: Iterable[Sample]) -> list[Sample]:
    """Of the attempts of a run in one shape only the last one that was timed, else the last."""
    kept: dict[object, Sample] = {}
    for sample in samples:
        measure = sample.measure
        where = (measure.run_dir, sample.group, measure.world_size, measure.num_nodes)
        known = kept.get(where)
        is_timed = measure.samples_per_s is not None
        if known is None or is_timed or known.measure.samples_per_s is None:
            kept[where] = sample
    return list(kept.values())


def _row(sample: Sample) -> Row:
    measure = sample.measure
    loader = measure.loader("train")
    return Row(
        group=sample.group,
        name=sample.name,
        attempt=measure.attempt,
        is_probe=measure.is_probe,
        outcome=measure.outcome,
        ranks=measure.world_size,
        nodes=measure.num_nodes,
        has_gpus=measure.gpu_type is not None,
        gpu_type=measure.gpu_type,
        cpus_per_rank=measure.cpus_per_rank,
        workers=loader.workers if loader is not None else None,
        batch_size=measure.batch_size,
        micro_batch_size=measure.micro_batch_size,
        step_s=measure.step_s,
        samples_per_s=measure.samples_per_s,
        data_wait_share=measure.data_wait_share,
        gpu_utilization=measure.gpu_utilization,
        host_gb=footprint.host_gb(measure),
        host_limit_gb=measure.mem_gb,
        gpu_gb=measure.gpu_gb(),
    )


def _order(row: Row) -> tuple[str, int, int, str, str]:
    return (row.group, row.ranks, row.nodes, row.name, row.attempt)


def _base(rows: Sequence[Row]) -> Row | None:
    """The fastest attempt on the fewest ranks."""
    timed = [row for row in rows if row.samples_per_s]
    return min(timed, key=lambda row: (row.ranks, -(row.samples_per_s or 0.0)), default=None)


def _compared(row: Row, base: Row | None) -> Row:
    if row.outcome in ("host_oom", "gpu_oom"):
        row = replace(row, limit="memory", why=_too_large(row))
    if base is None or base.samples_per_s is None or not row.samples_per_s:
        return row if row.why else replace(row, why=_untimed(row))
    speed_up = row.samples_per_s / base.samples_per_s
    compared = replace(
        row,
        speed_up=speed_up,
        efficiency=speed_up * base.ranks / row.ranks,
        base_ranks=base.ranks,
    )
    return compared if row.why else _explained(compared, base)


def _too_large(row: Row) -> str:
    if row.outcome == "gpu_oom":
        return "does not fit: a GPU ran out of memory"
    of = f" of {row.host_limit_gb:.3g}" if row.host_limit_gb is not None else ""
    held = f", {row.host_gb:.3g}{of} GB per node" if row.host_gb is not None else ""
    return f"does not fit: the host ran out of memory{held}"


def _untimed(row: Row) -> str:
    return f"not timed, it ended by {row.outcome}" if row.outcome else "not timed yet"


def _explained(row: Row, base: Row) -> Row:
    """The loader before all, because a starved rank hides everything else."""
    wait = row.data_wait_share or 0.0
    if wait >= WAITS_FROM:
        return replace(row, limit="loader", why=_loader(row, wait))
    has_peers = row.ranks > base.ranks
    if has_peers and row.efficiency is not None and row.efficiency < POOR_BELOW:
        if _is_smaller(row, base):
            return replace(row, limit="small batch", why=_small_batch(row, base, wait))
        return replace(row, limit="communication", why=_communication(row, base, wait))
    if row.gpu_utilization is not None and row.gpu_utilization < IDLE_BELOW:
        why = (
            f"GPUs work {row.gpu_utilization:.0%} of the time and hardly wait for data: small"
            " steps, or work on the CPU in between"
        )
        return replace(row, limit="host", why=why)
    return row


def _loader(row: Row, wait: float) -> str:
    """How many workers would keep up, if the CPUs allow."""
    said = f"ranks wait for data {wait:.0%} of a step"
    if row.speed_up is not None and row.base_ranks is not None and row.ranks > row.base_ranks:
        without = row.speed_up / max(1.0 - wait, 0.01)
        said += f", without that about {min(without, row.ranks / row.base_ranks):.1f}x"
    if row.workers is None:
        return f"{said}; give the loader more workers"
    needed = workers_needed(row.workers, wait)
    short = needed >= row.cpus_per_rank
    cpus = f" with cpus_per_rank={needed + 1} instead of {row.cpus_per_rank}" if short else ""
    each = f"{row.workers} worker{'s' * (row.workers != 1)} per rank"
    return f"{said}; it has {each}, about {needed} would keep up{cpus}"


def _communication(row: Row, base: Row, wait: float) -> str:
    where = "between nodes" if row.nodes > base.nodes else "between ranks"
    return f"ranks wait for data only {wait:.0%} of a step: the rest is exchange {where}"


def _is_smaller(row: Row, base: Row) -> bool:
    mine, theirs = row.micro_batch_size, base.micro_batch_size
    return mine is not None and theirs is not None and mine < theirs


def _small_batch(row: Row, base: Row, wait: float) -> str:
    """Half of the samples seldom take half of the time, whoever else there is."""
    each = "GPU" if row.has_gpus else "rank"
    return (
        f"ranks wait for data only {wait:.0%} of a step, which has {row.micro_batch_size} samples"
        f" per {each} instead of {base.micro_batch_size}: what is left is exchange, and what a"
        f" step costs however small it is; a probe of {base.ranks} {each}"
        f"{'s' * (base.ranks > 1)} with {row.micro_batch_size} samples each tells them apart"
    )


def workers_needed(workers: int, wait: float) -> int:
    """Dataloader workers that supply batches as fast as a rank takes them.

    While a rank waits, its workers set the pace: they would have to be faster by the ratio of the
    step with and without the wait. Without workers the rank itself loads during the wait.
    """
    busy = max(1.0 - min(wait, 1.0), 0.01)
    loads = workers if workers else wait
    return max(math.ceil(loads / busy - 1e-9), workers + 1)
