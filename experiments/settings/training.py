"""How a run learns: optimiser, schedule, length, precision."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from launcher.errors import ConfigError, at_least, one_of

if TYPE_CHECKING:
    from experiments.settings.experiment import ExperimentConfig

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "bf16-true")
SCHEDULES = ("constant", "cosine", "linear", "step", "one_cycle")


@dataclass(kw_only=True)
class OptimizerConfig:
    """Optimiser and learning-rate schedule."""

    name: str = "adam"
    """`adam` (decay enters the gradient), `adamw` (decay of its own) or `sgd`."""
    lr: float = 1e-4
    """Learning rate at the top of the schedule, of parameters that no policy slows down."""
    weight_decay: float = 0.0
    """Of matrices and kernels; vectors such as biases and norms never decay."""
    momentum: float = 0.9
    """`sgd` only."""
    schedule: str = "constant"
    """Factor on the learning rate after the warm-up: `constant`, `cosine` or `linear` (falling to
    `min_lr_share`), `step` (times `step_factor` at each milestone) or `one_cycle` (rises along a
    cosine for 0.3 of the run, from 1/25, and falls along another)."""
    warmup_steps: int = 0
    """Optimizer steps of a linear rise before the schedule."""
    min_lr_share: float = 0.0
    """Share of `lr` where falling schedules end; 0 ends them at 0."""
    milestones: tuple[float, ...] = (0.6, 0.9)
    """`step` only: where the rate drops, as rising shares of the run in (0, 1)."""
    step_factor: float = 0.1
    """`step` only: factor of each drop, in (0, 1)."""
    gradient_clip: float = 0.0
    """Largest gradient norm; 0 leaves gradients alone."""

    def __post_init__(self) -> None:
        one_of("optimizer.name", self.name, ("adam", "adamw", "sgd"))
        one_of("optimizer.schedule", self.schedule, SCHEDULES)
        for key in ("lr", "weight_decay", "warmup_steps", "gradient_clip"):
            at_least(f"optimizer.{key}", getattr(self, key), 0)
        _share("optimizer.momentum", self.momentum)
        _share("optimizer.min_lr_share", self.min_lr_share)
        _share("optimizer.step_factor", self.step_factor)
        if self.schedule == "one_cycle" and self.warmup_steps:
            raise ConfigError(
                f"`optimizer.warmup_steps={self.warmup_steps}` with `optimizer.schedule=one_cycle`",
                hint="one_cycle rises by itself; use optimizer.warmup_steps=0",
            )
        shares = list(self.milestones)
        if self.schedule == "step" and (
            not shares or shares != sorted(set(shares)) or not 0 < shares[0] <= shares[-1] < 1
        ):
            raise ConfigError(
                f"`optimizer.milestones={shares}` must be rising shares of the run in (0, 1)",
                hint="e.g. optimizer.milestones=[0.6,0.9]",
            )


@dataclass(kw_only=True)
class TrainerConfig:
    """How long and how a run trains. Devices and nodes follow from `resources`, not from here."""

    seed: int = 0
    max_steps: int = 1000
    """Optimizer steps; with `data.budget=epochs` those at all labels."""
    batch_size: int = 64
    """Effective batch: samples per optimizer step over all ranks and accumulation."""
    max_micro_batch_size: int = 64
    """Most samples a rank may hold at once; accumulation follows."""
    precision: str = "32-true"
    """`32-true`, `bf16-mixed`, `16-mixed` (GPU only), or `bf16-true`: bf16-mixed with the weights
    of the backbone in bfloat16 as well, which halves their memory and loses small updates."""
    ema_decay: float = 0.0
    """Decay of an exponential moving average of the weights that learn, in [0, 1), e.g. 0.999. It
    is what is validated, saved and scored; 0 leaves it out."""
    compile: bool = False
    """Compile backbone and head with torch.compile: minutes at the start of every attempt for
    faster steps. Changes the last bits of a result."""
    cuda_graphs: bool = True
    """Replay what a GPU does as CUDA graphs where a model is made of many small operations, such
    as TransFuser: the host is no limit then. Changes no number, takes some memory."""
    val_every_steps: int = 100
    """Validation at these steps; a shorter run validates once, at its end."""
    log_every_steps: int = 10
    deterministic: bool = True
    """Take only GPU kernels that repeat to the bit; slower."""
    profile_steps: int = 0
    """So many steps of each life are traced, to the folder `profile` of the run; 0: none."""

    def __post_init__(self) -> None:
        at_least("trainer.seed", self.seed, 0)
        for key in ("max_steps", "val_every_steps", "log_every_steps"):
            at_least(f"trainer.{key}", getattr(self, key), 1)
        at_least("trainer.profile_steps", self.profile_steps, 0)
        one_of("trainer.precision", self.precision, PRECISIONS)
        _share("trainer.ema_decay", self.ema_decay)
        if self.ema_decay and self.precision == "bf16-true":
            raise ConfigError(
                f"`trainer.ema_decay={self.ema_decay}` with `trainer.precision=bf16-true`: an"
                " average in bfloat16 is too coarse to move",
                hint="use trainer.precision=bf16-mixed, which keeps the weights in float32",
            )


def _share(key: str, value: float) -> None:
    if not 0.0 <= value < 1.0:
        raise ConfigError(f"`{key}={value}` is outside [0, 1)")


def check_precision(precision: str, accelerator: str) -> None:
    """Raise ConfigError where the accelerator, `cpu` or `gpu`, has no such precision."""
    if precision == "16-mixed" and accelerator != "gpu":
        raise ConfigError(
            "`trainer.precision=16-mixed` needs a GPU: its loss scaling is a CUDA feature",
            hint="use trainer.precision=bf16-mixed or 32-true on CPU",
        )


def recipe_deviations(config: ExperimentConfig) -> list[str]:
    """Return what of the backbone's recipe was changed, e.g. `optimizer.lr 0.01 instead of 0.1`.

    A recipe decides more than most heads do: TransFuser lost 33 of 84 points to AdamW with a
    cosine schedule. So a table must say where a run left it.
    """
    chosen, recipe = config.optimizer, config.backbone.optimizer
    used = _used(chosen) | _used(recipe)
    return [
        f"optimizer.{field.name} {_shown(getattr(chosen, field.name))}"
        f" instead of {_shown(getattr(recipe, field.name))}"
        for field in fields(OptimizerConfig)
        if field.name in used
        and _shown(getattr(chosen, field.name)) != _shown(getattr(recipe, field.name))
    ]


def _used(config: OptimizerConfig) -> set[str]:
    """Names of the fields that mean something for this optimiser and schedule."""
    used = {"name", "lr", "weight_decay", "schedule", "warmup_steps", "gradient_clip"}
    if config.name == "sgd":
        used.add("momentum")
    if config.schedule != "constant":
        used.add("min_lr_share")
    if config.schedule == "step":
        used |= {"milestones", "step_factor"}
    return used


def _shown(value: object) -> str:
    return str(list(value)) if isinstance(value, (list, tuple)) else str(value)
