"""How many dataloader workers a run has: as its config asks, and as it was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from omegaconf import DictConfig, OmegaConf

from launcher.records import LoaderUse
from launcher.settings import KeysConfig

Stage = Literal["train", "validate"]
"""What a dataloader serves."""
STAGES: tuple[Stage, Stage] = ("train", "validate")


@dataclass(frozen=True, kw_only=True)
class Loaders:
    """Dataloader workers of one rank."""

    workers: int
    """Those that serve training; 0 loads in the rank itself."""
    val_workers: int
    """Those that serve validation."""
    is_persistent: bool | None = None
    """Whether workers outlive the epoch of their loader; None where nobody knows."""

    def count(self, stage: Stage) -> int:
        """Workers that serve training, or validation."""
        return self.workers if stage == "train" else self.val_workers

    def __str__(self) -> str:
        kept = "persistent " if self.is_persistent else ""
        return f"{self.workers} + {self.val_workers} {kept}workers each"


def loaders_of(config: DictConfig, keys: KeysConfig) -> Loaders | None:
    """The workers that a config asks for; None where it does not have such a key."""
    workers = _value(config, keys.num_workers)
    val_workers = _value(config, keys.val_num_workers)
    if not isinstance(workers, int) or not isinstance(val_workers, int | None):
        return None  # absent, or such as `auto`
    persistent = _value(config, keys.persistent_workers)
    return Loaders(
        workers=int(workers),
        val_workers=int(workers if val_workers is None else val_workers),
        is_persistent=None if persistent is None else bool(persistent),
    )


def _value(config: DictConfig, key: str) -> Any:
    return OmegaConf.select(config, key, throw_on_resolution_failure=False)


def loaders_seen(seen: list[LoaderUse]) -> Loaders:
    """The workers of loaders that were measured."""
    of_stage = {
        stage: [use for use in seen if use.stage == stage] for stage in ("train", "validate")
    }
    return Loaders(
        workers=sum(use.workers for use in of_stage["train"]),
        val_workers=sum(use.workers for use in of_stage["validate"]),
        is_persistent=any(use.is_persistent for use in seen),
    )
