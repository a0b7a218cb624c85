"""What of a run's memory grows with its config besides workers and batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Needs:
    """Memory by what it is for [GB of 2**30 bytes], as a project declares it.

    A prediction takes what was measured, less the needs of the measured config, plus those of
    the wanted one; so what is forgotten here costs accuracy only where configs differ in it.
    """

    per_rank_gb: Mapping[str, float] = field(default_factory=dict)
    """Held by each rank for itself, e.g. an index in a list."""
    per_worker_gb: Mapping[str, float] = field(default_factory=dict)
    """Held by each dataloader worker for itself, e.g. what of that list it has touched."""
    per_node_gb: Mapping[str, float] = field(default_factory=dict)
    """Held once per node and not given back under pressure, e.g. a file in /dev/shm."""

    @property
    def rank_gb(self) -> float:
        """All that a rank holds for itself."""
        return sum(self.per_rank_gb.values())

    @property
    def worker_gb(self) -> float:
        """All that a worker holds for itself."""
        return sum(self.per_worker_gb.values())

    @property
    def node_gb(self) -> float:
        """All that a node holds once."""
        return sum(self.per_node_gb.values())


NONE = Needs()
"""Of a project that declares nothing."""
