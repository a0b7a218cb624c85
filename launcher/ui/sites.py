"""Tables of a site: its partitions, and what changed in its file."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from launcher import ui
from launcher.settings import ClusterConfig, PartitionConfig

_COLUMNS = ("nodes", "GPUs", "GPU GB", "CPUs", "GB", "limit", "most nodes", "most GPUs", "speed")


def show_site(cluster: ClusterConfig, title: str) -> None:
    """Print the partitions of a profile, one row each, to stdout."""
    ui.show(partition_table(cluster), title)


def partition_table(cluster: ClusterConfig) -> Table:
    """Nodes and limits of each partition; what is unknown or not limited is left empty."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("partition")
    for name in _COLUMNS:
        table.add_column(name, justify="right")
    table.add_column("account")
    table.add_column("remark")
    for name, there in cluster.partitions.items():
        is_default = name == cluster.partition
        table.add_row(Text(f"{name} *" if is_default else name), *map(Text, _cells(there)))
    return table


def _cells(there: PartitionConfig) -> list[str]:
    gpus = "" if there.gpus_per_node is None else f"{there.gpus_per_node} {there.gpu_type or ''}"
    limit = there.max_time_min
    accounts = there.account or ", ".join(there.accounts)
    preemptible = f"preemptible, {there.grace_time_s} s grace" if there.is_preemptible else ""
    return [
        _number(there.num_nodes),
        gpus.strip(),
        _number(there.gpu_mem_gb),
        _number(there.cpus_per_node),
        _number(there.mem_gb_per_node),
        "" if limit is None else _duration(limit),
        _number(there.max_nodes),
        _number(there.max_gpus),
        _number(there.speed),
        accounts,
        preemptible,
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _duration(minutes: int) -> str:
    days, rest = divmod(minutes, 1440)
    return f"{days} d" if days and not rest else f"{minutes / 60:g} h"


def show_changes(path: Path, before: Sequence[str], after: Sequence[str]) -> None:
    """Print what a new look changes in a file, as `diff -u` does."""
    changes = difflib.unified_diff(
        before, after, f"{path} (before)", f"{path} (now)", n=1, lineterm=""
    )
    styles = {"+": "green", "-": "red", "@": "cyan"}
    for line in changes:
        ui.err.print(Text(line, style=styles.get(line[:1], "")))
