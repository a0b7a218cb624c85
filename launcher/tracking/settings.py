"""Which trackers a run has. None of it changes the science, so none of it counts for the key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from launcher.errors import ConfigError, at_least, one_of

MODES = ("online", "offline", "disabled")
CHECKPOINTS = ("reference", "upload", "none")
_ILLEGAL = re.compile(r"[/\\#?%:]")
"""What W&B refuses in ids and names of projects."""
LONGEST_ID = 128
LONGEST_TAG = 64


@dataclass(kw_only=True)
class WandbConfig:
    """Weights & Biases."""

    mode: str = "disabled"
    """`online` (offline where the node cannot reach it), `offline` or `disabled`."""
    project: str = "uncategorized"
    entity: str | None = None
    """User or team; `null` takes the default of the account."""
    tags: list[str] = field(default_factory=list)
    """Besides those that say what the run is."""
    checkpoint: str = "reference"
    """The best checkpoint as an artifact: `reference` (where it lies on disk), `upload` (the file
    itself, which may take gigabytes and long) or `none`."""
    finish_s: float = 30.0
    """How long a run that has ended may wait until W&B has all of it [s]; the rest is synced
    later."""
    api_key: str | None = None
    """Never set: a config is frozen into the study's folder. It only says so when tried."""

    def __post_init__(self) -> None:
        if self.api_key is not None:
            raise ConfigError(
                "`tracking.wandb.api_key` is set: configs are frozen, recorded and published, and a"
                " key must be in none of them",
                hint="`wandb login` on this machine, or WANDB_API_KEY in the environment; make a"
                " new key if this one was pushed anywhere",
            )
        one_of("tracking.wandb.mode", self.mode, MODES)
        one_of("tracking.wandb.checkpoint", self.checkpoint, CHECKPOINTS)
        at_least("tracking.wandb.finish_s", self.finish_s, 0)
        check_id("tracking.wandb.project", self.project)
        if self.entity is not None:
            check_id("tracking.wandb.entity", self.entity)
        for tag in self.tags:
            if not 0 < len(tag) <= LONGEST_TAG:
                raise ConfigError(
                    f"`tracking.wandb.tags`: `{tag}` has {len(tag)} characters",
                    hint=f"W&B takes tags of 1 to {LONGEST_TAG}",
                )

    @property
    def is_on(self) -> bool:
        """Whether a run is written for W&B at all."""
        return self.mode != "disabled"


@dataclass(kw_only=True)
class TrackingConfig:
    """Trackers of a run; several at once: `tracking=[csv,wandb_offline]`."""

    csv: bool = False
    """Lightning's metrics.csv, in one folder per attempt; tables and figures read it."""
    tensorboard: bool = False
    """Event files of TensorBoard, in one folder per attempt."""
    wandb: WandbConfig = field(default_factory=WandbConfig)


def check_id(key: str, value: str) -> None:
    """Raise ConfigError unless W&B takes a value as an id or the name of a project."""
    if found := _ILLEGAL.search(value):
        raise ConfigError(
            f"`{key}={value}` contains `{found[0]}`", hint=r"W&B refuses / \ # ? % : in it"
        )
    if not value.strip() or len(value) > LONGEST_ID:
        raise ConfigError(
            f"`{key}` has {len(value)} characters", hint=f"W&B takes 1 to {LONGEST_ID} of them"
        )


def from_container(values: Mapping[str, Any] | None) -> TrackingConfig:
    """The settings in a composed config's `tracking`; plain files only where it has none.

    Raises:
        ConfigError: a value is wrong.
    """
    if values is None:
        return TrackingConfig(csv=True)
    rest = {key: value for key, value in values.items() if key != "wandb"}
    try:
        return TrackingConfig(**rest, wandb=WandbConfig(**(values.get("wandb") or {})))
    except TypeError as error:
        raise ConfigError(f"`tracking`: {error}") from error
