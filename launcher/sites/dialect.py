"""In which words a site wants to be asked: tried with `sbatch --test-only`."""

from __future__ import annotations

from dataclasses import dataclass

from launcher.sites import access
from launcher.sites.access import ONE_GPU, Access, Test, Way
from launcher.sites.facts import Site

_ONE_GPU_PER_NODE = "--gpus-per-node=1"


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """Words for GPUs and memory; null where nothing could be tried."""

    gpus: str | None = None
    """`gres` or `gpus_per_node`."""
    memory: str | None = None
    """`node`, `cpu` or `none`."""

    def gpu_option(self, gpu_type: str = "", count: int | str = 1) -> str:
        """Option of sbatch that asks for GPUs of a type; an empty word leaves it open."""
        kind = f"{gpu_type}:" if gpu_type else ""
        if self.gpus == "gpus_per_node":
            return f"--gpus-per-node={kind}{count}"
        return f"--gres=gpu:{kind}{count}"


def find(site: Site, test: Test) -> tuple[Access, Dialect]:
    """The ways into the site's partitions, and the words that it understands."""
    ways = access.find(site, test)
    gpus = "gres" if _lets_gpus(site, ways) else None
    if gpus is None and any(site.has_gpus(partition.name) for partition in site.partitions):
        others = access.find(site, test, one_gpu=_ONE_GPU_PER_NODE)
        if _lets_gpus(site, others):
            ways, gpus = others, "gpus_per_node"
    return ways, Dialect(gpus=gpus, memory=_memory(site, ways, test, gpus))


def _lets_gpus(site: Site, ways: Access) -> bool:
    return any(site.has_gpus(way.partition) for way in ways.open)


def _memory(site: Site, ways: Access, test: Test, gpus: str | None) -> str | None:
    if not ways.open:
        return None
    way = ways.open[0]
    if test(*_asked(site, way, gpus), "--mem=100M") is None:
        return "node"
    return "cpu" if test(*_asked(site, way, gpus), "--mem-per-cpu=100M") is None else "none"


def _asked(site: Site, way: Way, gpus: str | None) -> list[str]:
    one = _ONE_GPU_PER_NODE if gpus == "gpus_per_node" else ONE_GPU
    return [*way.options, *([one] if site.has_gpus(way.partition) else [])]
