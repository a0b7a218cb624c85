"""What is proposed to a run that does not fit."""

from __future__ import annotations

from launcher.estimates.loaders import Loaders
from launcher.estimates.memory import Wanted, fit, proposals
from launcher.estimates.model import MemoryModel
from launcher.settings import KeysConfig
from tests.unit.launcher.estimates.taken import measure, node_gb


def model() -> MemoryModel:
    found = fit([measure(2, 4, 2), measure(2, 2, 4)])
    assert found is not None
    return found


def wanted(ranks: int, workers: int, val_workers: int, *, is_persistent: bool = False) -> Wanted:
    return Wanted(
        ranks_per_node=ranks,
        world_size=ranks,
        loaders=Loaders(workers=workers, val_workers=val_workers, is_persistent=is_persistent),
    )


def ways(run: Wanted, limit_gb: float, node_gb: float | None = None) -> list[str]:
    return proposals(model(), run, limit_gb, keys=KeysConfig(), node_gb=node_gb, margin=0.0)


def test_the_least_change_of_each_kind_is_proposed_with_what_it_needs() -> None:
    limit_gb = node_gb(4, 8, 4) + 0.01
    said = ways(wanted(4, 8, 8), limit_gb, node_gb=64)
    assert said[0].startswith("data.val_num_workers=4 needs")
    assert any(way.startswith("data.num_workers=") for way in said)
    assert any(way.startswith("resources.mem_gb=") for way in said)
    assert any(way.startswith("resources.nodes=2 resources.gpus_per_node=2 needs") for way in said)


def test_each_proposal_fits() -> None:
    limit_gb = 20.0
    said = [way for way in ways(wanted(4, 8, 8), limit_gb) if "mem_gb" not in way]
    assert said
    assert all(float(way.split(" needs ")[1].split()[0]) <= limit_gb for way in said)


def test_a_node_that_is_too_small_is_not_proposed() -> None:
    said = ways(wanted(4, 8, 8), 20.0, node_gb=21)
    assert not any("mem_gb" in way for way in said)


def test_one_rank_is_not_spread_over_nodes() -> None:
    assert not any("nodes" in way for way in ways(wanted(1, 8, 8), 8.0))


def test_nothing_is_proposed_where_nothing_fits() -> None:
    assert ways(wanted(1, 8, 8), 0.5, node_gb=1) == []


def test_keys_that_a_config_has_not_are_not_proposed() -> None:
    said = proposals(
        model(),
        wanted(4, 8, 8),
        20.0,
        keys=KeysConfig(),
        has_key=lambda key: key == "data.num_workers",
        margin=0.0,
    )
    assert any(way.startswith("data.num_workers=") for way in said)
    assert not any("val_num_workers" in way for way in said)
