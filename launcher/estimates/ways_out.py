"""What would fit where a run does not: each way with what it is predicted to need."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

from launcher.estimates.loaders import Loaders
from launcher.estimates.model import MemoryModel
from launcher.estimates.ranks import Wanted
from launcher.settings import KeysConfig


def proposals(
    model: MemoryModel,
    wanted: Wanted,
    limit_gb: float,
    *,
    keys: KeysConfig,
    has_key: Callable[[str], bool] = lambda _: True,
    node_gb: float | None = None,
    margin: float = 0.1,
) -> list[str]:
    """Overrides with which the run fits, the least change of each kind; empty if none does.

    Args:
        model: What was measured.
        wanted: The run that does not fit.
        limit_gb: What its job may hold on each node [GB].
        keys: Names of the config's keys.
        has_key: Whether the config has a key; what it has not is not proposed.
        node_gb: What a job may ask of a node [GB]; None where nobody knows.
        margin: What is added for what was not seen, as a share.
    """
    found = [
        *_first(model, _with_loaders(wanted, keys, has_key), limit_gb, margin),
        *_more_memory(model, wanted, limit_gb, node_gb, margin),
        *_first(model, _on_more_nodes(wanted), limit_gb, margin),
    ]
    return [f"{override} needs {gb:.3g} GB per node" for override, gb in found]


Ways = Iterator[tuple[str, list[tuple[str, Wanted]]]]
"""Kinds of changes, each with its steps from the smallest to the largest."""


def _first(
    model: MemoryModel, ways: Ways, limit_gb: float, margin: float
) -> Iterator[tuple[str, float]]:
    for _, steps in ways:
        for override, changed in steps:
            needed_gb = model.budget(changed, margin).with_margin_gb
            if needed_gb <= limit_gb:
                yield override, needed_gb
                break


def _with_loaders(wanted: Wanted, keys: KeysConfig, has_key: Callable[[str], bool]) -> Ways:
    loaders = wanted.loaders

    def change(changed: Loaders, **values: object) -> tuple[str, Wanted]:
        named = {getattr(keys, name): value for name, value in values.items()}
        words = [f"{key}={value}" for key, value in named.items() if has_key(key)]
        return " ".join(words), replace(wanted, loaders=changed)

    if loaders.is_persistent and has_key(keys.persistent_workers):
        once = replace(loaders, is_persistent=False)
        yield "persistent", [change(once, persistent_workers="false")]
    if has_key(keys.val_num_workers):
        yield (
            "validation",
            [
                change(replace(loaders, val_workers=n), val_num_workers=n)
                for n in range(loaders.val_workers - 1, -1, -1)
            ],
        )
    if has_key(keys.num_workers):
        fewer = [(n, min(n, loaders.val_workers)) for n in range(loaders.workers - 1, -1, -1)]
        yield (
            "training",
            [
                change(
                    replace(loaders, workers=n, val_workers=val),
                    num_workers=n,
                    val_num_workers=val,
                )
                for n, val in fewer
            ],
        )


def _on_more_nodes(wanted: Wanted) -> Ways:
    ranks, world = wanted.ranks_per_node, wanted.world_size
    fewer = [n for n in range(ranks - 1, 0, -1) if world % n == 0]
    yield (
        "nodes",
        [
            (
                f"resources.nodes={world // n} resources.gpus_per_node={n}",
                replace(wanted, ranks_per_node=n),
            )
            for n in fewer
        ],
    )


def _more_memory(
    model: MemoryModel, wanted: Wanted, limit_gb: float, node_gb: float | None, margin: float
) -> Iterator[tuple[str, float]]:
    needed_gb = model.budget(wanted, margin).with_margin_gb
    ask_gb = math.ceil(needed_gb)
    if needed_gb > limit_gb and (node_gb is None or ask_gb <= node_gb):
        yield f"resources.mem_gb={ask_gb}", needed_gb
