"""What an experiment is: one dataclass per config group, with every default in one place.

The YAML files below conf/ hold only what differs from here. Hydra composes against these
schemas, so a misspelt key dies on the submitting machine; `from_config` converts once, and
`__post_init__` checks what OmegaConf cannot. Importing this module never imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from launcher.errors import ConfigError, at_least, one_of
from launcher.settings import (
    DEFAULT_KEY_EXCLUDE,
    SWITCHES,
    ClusterConfig,
    RecoveryConfig,
    ResourcesConfig,
)
from launcher.settings import register as register_launchers

POSES = 8
"""Poses of a planned trajectory."""
POSE_INTERVAL_S = 0.5
"""Time between two poses [s]; the horizon is 4 s."""
COMMANDS = ("left", "straight", "right", "unknown")
"""Order of the one-hot driving command in OpenScene logs."""


@dataclass(kw_only=True)
class SyntheticConfig:
    """The procedural world that `data=synthetic` generates; every field changes its bytes."""

    seed: int = 0
    """World seed. The same seed gives the same bytes on every machine."""
    num_logs: int = 60
    """Recordings; each is one drive through one piece of road."""
    frames_per_log: int = 24
    """Frames of a log at 2 Hz."""
    camera_hw: tuple[int, int] = (90, 160)
    """Height and width of each rendered camera JPEG [px]; 1080 x 1920 in NAVSIM."""


@dataclass(kw_only=True)
class DataConfig:
    """Where scenes come from and which of them a run may learn from."""

    source: str = "synthetic"
    """`synthetic` (generated) or `openscene` (logs and sensor blobs on disk)."""
    root: str = "data"
    """Folder of the data; generated data is cached below it by content hash."""
    logs: str | None = None
    """`openscene` only: folder of log pickles; default `<root>/navsim_logs`."""
    sensors: str | None = None
    """`openscene` only: folder of sensor blobs; default `<root>/sensor_blobs`."""
    synthetic: SyntheticConfig = field(default_factory=SyntheticConfig)
    """The generated world; unused by other sources."""
    fraction: float = 1.0
    """Share of the training logs whose labels are used, in (0, 1]. Fractions are nested."""
    subset_seed: int = 0
    """Draws the label fraction; apart from the training seed on purpose."""
    split_seed: int = 0
    """Splits logs into train, val and test."""
    val_share: float = 0.15
    """Share of logs for validation."""
    test_share: float = 0.2
    """Share of logs for the final score."""
    num_history_frames: int = 4
    """Frames of a window up to and including the current one."""
    num_future_frames: int = 10
    """Frames of a window after the current one; 8 are the target, all are traffic."""
    frame_interval: int = 1
    """Stride between windows [frames]."""
    image_hw: tuple[int, int] = (256, 1024)
    """Stitched left-front-right camera image the models see [px]."""
    bev_px: int = 256
    """Edge of the square LiDAR bird's-eye-view histogram [px]."""
    bev_range_m: float = 32.0
    """Half the edge of that histogram [m]."""
    num_workers: int = 0
    """Dataloader processes per rank."""
    cache_decoded: bool = False
    """Decode everything once and keep it in memory; for data that fits."""

    def __post_init__(self) -> None:
        one_of("data.source", self.source, ("synthetic", "openscene"))
        if not 0.0 < self.fraction <= 1.0:
            raise ConfigError(
                f"`data.fraction={self.fraction}` is outside (0, 1]",
                hint="a label fraction is a share of the training logs, e.g. data.fraction=0.1",
            )
        at_least("data.num_workers", self.num_workers, 0)


@dataclass(kw_only=True)
class PretrainConfig:
    """The I-JEPA objective (Assran et al., 2023): predict target blocks from a context block."""

    steps: int = 300
    batch_size: int = 64
    lr: float = 1e-3
    weight_decay: float = 0.05
    ema_start: float = 0.99
    """EMA momentum of the target encoder at the first step; rises linearly to 1."""
    num_targets: int = 4
    target_scale: tuple[float, float] = (0.15, 0.2)
    """Area of a target block as a share of the patch grid."""
    target_aspect: tuple[float, float] = (0.75, 1.5)
    context_scale: tuple[float, float] = (0.85, 1.0)
    predictor_depth: int = 2
    predictor_dim: int = 64
    seed: int = 0


@dataclass(kw_only=True)
class BackboneConfig:
    """An encoder of sensor data into tokens. Sizes come from the scale group."""

    name: str = "transfuser"
    finetune: str = "full"
    """Policy when `finetune=preset`."""
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig())
    """Recipe of this backbone, taken when `optimizer=preset`."""
    # TransFuser: two ResNets joined by transformers after each of their four stages.
    stage_blocks: tuple[int, ...] = (3, 4, 6, 3)
    stage_channels: tuple[int, ...] = (64, 128, 256, 512)
    fusion_layers: int = 2
    fusion_heads: int = 4
    image_anchors_hw: tuple[int, int] = (8, 32)
    """Grid to which image features are pooled before fusion."""
    bev_anchors_hw: tuple[int, int] = (8, 8)
    """Grid to which LiDAR features are pooled before fusion; also the output tokens."""
    # I-JEPA: a plain ViT without a class token.
    patch_px: int = 14
    embed_dim: int = 1280
    depth: int = 32
    num_heads: int = 16
    mlp_ratio: float = 4.0
    weights: str = "none"
    """`none` (random, then trained), or `pretrain` (output of the run required as `encoder`)."""
    which: str = "target_encoder"
    """Encoder taken from an I-JEPA checkpoint: `target_encoder` (the paper) or `encoder`."""
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)

    def __post_init__(self) -> None:
        one_of("backbone.name", self.name, ("transfuser", "ijepa"))
        one_of("backbone.weights", self.weights, ("none", "pretrain"))
        one_of("backbone.which", self.which, ("target_encoder", "encoder"))


@dataclass(kw_only=True)
class HeadConfig:
    """Turns tokens and the ego status into a trajectory."""

    name: str = "mlp"
    pool_hw: tuple[int, int] = (2, 8)
    """Token grid after pooling, before flattening; at most the backbone's own grid."""
    hidden_dim: int = 256
    dropout: float = 0.0

    def __post_init__(self) -> None:
        one_of("head.name", self.name, ("mlp",))


@dataclass(kw_only=True)
class FinetuneConfig:
    """Which parameters of the backbone learn."""

    policy: str = "full"
    """`frozen` (eval mode, no gradients, not in the optimiser or the checkpoint) or `full`."""

    def __post_init__(self) -> None:
        one_of("finetune.policy", self.policy, ("frozen", "full"))


@dataclass(kw_only=True)
class OptimizerConfig:
    """Optimiser and learning-rate schedule."""

    name: str = "adam"
    lr: float = 1e-4
    weight_decay: float = 0.0
    schedule: str = "constant"
    """`constant` or `cosine` (to zero over the run)."""
    warmup_steps: int = 0
    gradient_clip: float = 0.0
    """Largest gradient norm; 0 leaves gradients alone."""

    def __post_init__(self) -> None:
        one_of("optimizer.name", self.name, ("adam", "adamw"))
        one_of("optimizer.schedule", self.schedule, ("constant", "cosine"))
        for key in ("lr", "weight_decay", "warmup_steps", "gradient_clip"):
            at_least(f"optimizer.{key}", getattr(self, key), 0)


@dataclass(kw_only=True)
class TrainerConfig:
    """How long and how a run trains. Devices and nodes follow from `resources`, not from here."""

    seed: int = 0
    max_steps: int = 1000
    """Optimizer steps."""
    batch_size: int = 64
    """Effective batch: samples per optimizer step over all ranks and accumulation."""
    max_micro_batch_size: int = 64
    """Most samples a rank may hold at once; accumulation follows."""
    precision: str = "32-true"
    val_every_steps: int = 100
    """Validation at these steps; a shorter run validates once, at its end."""
    log_every_steps: int = 10
    deterministic: bool = True

    def __post_init__(self) -> None:
        at_least("trainer.seed", self.seed, 0)
        for key in ("max_steps", "val_every_steps", "log_every_steps"):
            at_least(f"trainer.{key}", getattr(self, key), 1)


@dataclass(kw_only=True)
class ExperimentConfig:
    """One run: everything that is composed for it and means something to the science."""

    task: str = "train"
    """`train`, `evaluate` or `pretrain`."""
    data: DataConfig = field(default_factory=DataConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)

    def __post_init__(self) -> None:
        one_of("task", self.task, ("train", "evaluate", "pretrain"))
        if self.backbone.name == "ijepa":
            check_vit_sizes(self.backbone, self.data.image_hw)


def check_vit_sizes(config: BackboneConfig, image_hw: tuple[int, int]) -> None:
    """Raise ConfigError unless image, patch, width and heads fit together."""
    patch, dim, heads = config.patch_px, config.embed_dim, config.num_heads
    if any(size % patch or size < patch for size in image_hw):
        legal = [
            " or ".join(str(n * patch) for n in sorted({max(1, s // patch), -(-s // patch)}))
            for s in image_hw
        ]
        raise ConfigError(
            f"`data.image_hw={list(image_hw)}` is not a multiple of `backbone.patch_px={patch}`",
            hint=f"nearest legal sizes: height {legal[0]}, width {legal[1]}",
        )
    if dim % heads or dim % 4:
        raise ConfigError(
            f"`backbone.embed_dim={dim}` does not fit `backbone.num_heads={heads}`",
            hint="the width must be a multiple of the heads, and of 4 for 2-D positions",
        )


def _of_no_key() -> list[str]:
    return [
        "identity",
        *DEFAULT_KEY_EXCLUDE,
        *SWITCHES,
        "data.root",
        "data.logs",
        "data.sensors",
        "data.num_workers",
        "data.cache_decoded",
        "trainer.log_every_steps",
    ]


@dataclass(kw_only=True)
class IdentityConfig:
    """What does not change the science of a run and is not part of its key, as dotted keys."""

    always: list[str] = field(default_factory=_of_no_key)
    """Of no run: where it runs, from which folders, how much it says."""
    exclude: list[str] = field(default_factory=list)
    """Of the runs of a task, e.g. of a pretraining what comes after it."""
    derived: list[str] = field(default_factory=lambda: ["scale"])
    """What only feeds other keys; its values count where they arrive."""


@dataclass(kw_only=True)
class RootConfig(ExperimentConfig):
    """A run with what the launcher has to know of it: where, how large, after what."""

    scale: dict[str, Any] = field(default_factory=dict)
    """Sizes that the other groups refer to."""
    resources: ResourcesConfig = field(default_factory=ResourcesConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    requires: dict[str, Any] = field(default_factory=dict)
    recovery: RecoveryConfig = field(default_factory=RecoveryConfig)
    paths: dict[str, str] = field(default_factory=dict)
    identity: IdentityConfig = field(default_factory=IdentityConfig)
    dry_run: bool = False
    """Short for hydra.launcher.dry_run, as are the following for their namesakes."""
    show_script: bool = False
    yes: bool = False
    force: bool = False
    failed: str | None = None
    unwanted: str = "keep"
    wait: bool | None = None


def register() -> None:
    """Offer the schema that conf/config.yaml starts from, and launchers that read its groups."""
    ConfigStore.instance().store(name="experiment_schema", node=RootConfig)
    register_launchers(
        cluster="${cluster}",
        resources="${resources}",
        requires="${requires}",
        recovery="${recovery}",
        key_exclude="${identity.exclude}",
        shared_dir="${paths.output_dir}/prerequisites",
        validate=["experiments.preflight:check"],
        report="experiments.report:write",
        **{name: f"${{{name}}}" for name in SWITCHES},
    )


def from_config(config: Any) -> ExperimentConfig:
    """Convert a composed config, once.

    Raises:
        ConfigError: a value that no type can refuse is wrong.
    """
    parts = {}
    for part in fields(ExperimentConfig):
        value = config[part.name]
        is_node = OmegaConf.is_config(value)
        parts[part.name] = OmegaConf.to_container(value, resolve=True) if is_node else value
    converted = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(ExperimentConfig), parts))
    assert isinstance(converted, ExperimentConfig)
    return converted
