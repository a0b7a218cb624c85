"""Configurations of the memory project: those that calibrate, and those that are predicted."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from launcher.estimates.loaders import Loaders

PRIVATE_SAMPLES = 25_000
"""A list of as many rows takes 0.1 GB in each process that walks through it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One run."""

    ranks: int
    workers: int
    val_workers: int
    is_persistent: bool = False
    index_samples: int = 100
    is_private: bool = False
    """Whether each process holds the index for itself, as a list."""
    micro_batch_size: int = 16
    mem_gb: float = 4.0
    """Limit of the job."""

    @property
    def name(self) -> str:
        """Of its file, hence without what YAML or Hydra would read as something else."""
        kept = "-kept" if self.is_persistent else ""
        index = f"-{'list' if self.is_private else 'map'}{self.index_samples}"
        index = index if self.index_samples > 100 else ""
        batch = f"-batch{self.micro_batch_size}" if self.micro_batch_size != 16 else ""
        return f"{self.ranks}x{self.workers}+{self.val_workers}{kept}{index}{batch}"

    @property
    def loaders(self) -> Loaders:
        """Its workers, as a prediction asks for them."""
        return Loaders(
            workers=self.workers,
            val_workers=self.val_workers,
            is_persistent=self.is_persistent,
        )

    def within(self, mem_gb: float) -> "Case":
        """The same with another limit."""
        return replace(self, mem_gb=mem_gb)

    def config(self) -> dict[str, Any]:
        """What its config differs in."""
        batch = self.micro_batch_size
        return {
            "data": {
                "num_workers": self.workers,
                "val_num_workers": self.val_workers,
                "persistent_workers": self.is_persistent,
                "index": "private" if self.is_private else "mapped",
                "index_samples": self.index_samples,
            },
            "trainer": {"batch_size": batch * self.ranks, "max_micro_batch_size": batch},
            "hydra": {
                "launcher": {
                    "resources": {
                        "nodes": 1,
                        "gpus_per_node": self.ranks if self.ranks > 1 else 0,
                        "mem_gb": round(self.mem_gb, 3),
                        "timeout_min": 10,
                    }
                }
            },
        }


def case(ranks: int, workers: int, val_workers: int, **changes: Any) -> Case:
    """A case in short."""
    return Case(ranks=ranks, workers=workers, val_workers=val_workers, **changes)


CALIBRATIONS = (case(2, 3, 2), case(1, 2, 4))
"""What the predictions rest on; the first alone in the short part of the tests."""
CASES = (
    case(1, 2, 2),
    case(1, 8, 0),
    case(1, 4, 4, is_persistent=True),
    case(1, 3, 3, micro_batch_size=64),
    case(1, 4, 4, index_samples=PRIVATE_SAMPLES, is_private=True),
    case(2, 1, 1),
    case(2, 0, 3),
    case(2, 2, 4, is_persistent=True),
    case(2, 4, 1, index_samples=100_000),
    case(2, 6, 2, micro_batch_size=48),
    case(2, 2, 2, index_samples=2 * PRIVATE_SAMPLES, is_private=True),
    case(4, 2, 2, is_persistent=True),
    case(4, 4, 2),
    case(4, 1, 1, index_samples=100_000),
)
"""What is predicted. None of them takes more than 5 GB."""
SHORT = (case(1, 4, 1), case(2, 1, 3, is_persistent=True), case(4, 1, 1, index_samples=20_000))
"""Of the part that tests run by default."""


def by_name(cases: Iterable[Case], names: Sequence[str]) -> list[Case]:
    """Those that are asked for; all where none is."""
    return [case for case in cases if not names or case.name in names]
