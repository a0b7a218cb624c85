"""The store of features that frozen encoders made once."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import ListConfig

from experiments.settings.parts import listed, numbered
from launcher.errors import ConfigError, at_least, one_of

MODES = ("online", "stored")
DTYPES = ("float16", "bfloat16", "float32")
READERS = ("train", "evaluate")
"""Tasks that may read features instead of sensors."""


@dataclass(kw_only=True)
class FeaturesConfig:
    """Whether heads learn from features that a frozen encoder made once, or from sensors."""

    mode: str = "online"
    """`online` (encode each batch anew) or `stored` (read what task=extract has written). The
    group `features=auto` stores wherever that is possible."""
    pool_hw: tuple[int, int] | None = None
    """Rows and columns that the token grid is averaged to behind the encoder, stored or online
    alike; [1, 1] is one token, `null` keeps all. A stored window takes rows x columns x channels
    numbers."""
    dtype: str = "float16"
    """Numbers of the store: `float16`, `bfloat16` or `float32`."""
    compute_dtype: str = "float32"
    """Weights and activations while features are extracted: `float32`, or `bfloat16` (ten times
    as fast on a GPU, tokens differ by about 1 %)."""
    batch_size: int = 64
    """Windows that a rank encodes at once; says how fast, not what."""
    num_jobs: int = 1
    """Jobs that the extraction is spread over, each of them a run of its own."""
    part: str = "0/1"
    """Which share of the store a run of task=extract makes: the `k`-th of `n`, as `k/n` from 0."""

    def __post_init__(self) -> None:
        one_of("features.mode", self.mode, MODES)
        one_of("features.dtype", self.dtype, DTYPES)
        one_of("features.compute_dtype", self.compute_dtype, ("float32", "bfloat16"))
        at_least("features.batch_size", self.batch_size, 1)
        at_least("features.num_jobs", self.num_jobs, 1)
        if self.pool_hw is not None:
            for size in self.pool_hw:
                at_least("features.pool_hw", size, 1)
        self.numbered_part()

    def numbered_part(self) -> tuple[int, int]:
        """Return which share `part` names, and of how many.

        Raises:
            ConfigError: it names none.
        """
        return numbered("features", self.part)


def why_online(policy: str, augmentation: str, weights: str) -> str | None:
    """Return why features of such a run cannot be stored; None if they can.

    Args:
        policy: `finetune.policy`.
        augmentation: `data.augmentation`.
        weights: `backbone.weights`.
    """
    if policy != "frozen":
        return f"`finetune.policy={policy}` changes the encoder while the head learns"
    if augmentation != "none":
        return f"`data.augmentation={augmentation}` shows the encoder other pixels at each visit"
    if weights == "none":
        return "`backbone.weights=none` is a random encoder, another one for each `trainer.seed`"
    return None


def check_stored(config: FeaturesConfig, reason: str | None) -> None:
    """Raise ConfigError if features are to be stored although there is a reason against it."""
    if config.mode == "stored" and reason is not None:
        raise ConfigError(
            f"`features.mode=stored` cannot be: {reason}",
            hint="use features=auto, which stores wherever it can, or features=online",
        )


def fitting_mode(policy: str, augmentation: str, weights: str) -> str:
    """Return `stored` where features can be stored, else `online`."""
    return "stored" if why_online(policy, augmentation, weights) is None else "online"


def required_extraction(task: str, mode: str, num_jobs: int) -> ListConfig | None:
    """Return the overrides that turn a run into the extraction it needs first; None without.

    As a node: Hydra resolves launchers in place, where a plain list of a resolver has no room.
    """
    if task not in READERS or mode != "stored":
        return None
    return ListConfig(["task=extract", listed("features", num_jobs)])
