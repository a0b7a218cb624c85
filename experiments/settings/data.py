"""Where scenes come from, and which of them a run may learn from."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec

from experiments.settings.constants import CAMERAS, POSES
from launcher.errors import ConfigError, at_least, one_of

SOURCES = ("synthetic", "openscene", "navsim_cache")


@dataclass(kw_only=True)
class SyntheticConfig:
    """The procedural world that `data=synthetic` generates; every field changes its bytes."""

    seed: int = 0
    """World seed. The same seed gives the same bytes on every machine."""
    num_logs: int = 60
    """Recordings; each is one drive through one piece of road."""
    frames_per_log: int = 24
    """Frames of a log at 2 Hz."""
    logs_per_drive: int = 1
    """Logs that are chunks of one drive: they share town and weather, and are never split."""
    camera_hw: tuple[int, int] = (90, 160)
    """Height and width of each rendered camera JPEG [px]; 1080 x 1920 in NAVSIM."""


@dataclass(kw_only=True)
class DataConfig:
    """Where scenes come from and which of them a run may learn from."""

    source: str = "synthetic"
    """`synthetic` (generated), `openscene` (logs and sensor blobs on disk) or `navsim_cache`
    (features and targets that NAVSIM's TransFuser agent has cached)."""
    root: str = "data"
    """Folder of the data; generated data is cached below it by content hash."""
    logs: str | None = None
    """Folder of recorded log pickles; default `<root>/navsim_logs`. `navsim_cache` needs them
    too: they say what was cached, where and in which order."""
    sensors: str | None = None
    """`openscene` only: folder of sensor blobs; default `<root>/sensor_blobs`."""
    parts: list[str] = field(default_factory=list)
    """Sub-folders of `logs` and `sensors` to take, e.g. [trainval, test]; none: the folders
    themselves."""
    training_cache: str | None = None
    """`navsim_cache` only: folder of `<log>/<token>/<builder>.gz`; default
    `<root>/training_cache`."""
    cache_dir: str | None = None
    """Folder for the index of the logs where `root` cannot be written; all nodes must see it."""
    synthetic: SyntheticConfig = field(default_factory=SyntheticConfig)
    """The generated world; unused by other sources."""
    split: str = "random"
    """Who says what trains, validates and tests: `random` (shares of drives), `navsim` (the lists
    of logs in `split_files`) or `custom` (a filter for each)."""
    filter: str | None = None
    """Scenes to take, as a NAVSIM scene filter: path of a YAML file, or the name of one of the
    devkit, e.g. `navtrain`. With `split=custom` those of training."""
    val_filter: str | None = None
    """`split=custom` only: scenes of validation."""
    test_filter: str | None = None
    """`split=navsim|custom`: scenes of the final score, e.g. `navtest`."""
    split_files: list[str] = field(default_factory=list)
    """`split=navsim` only: YAML files with `train_logs`, `val_logs`, `test_logs`; default those of
    the devkit."""
    devkit: str | None = None
    """Checkout of NAVSIM, where names of filters are looked up."""
    fraction: float = 1.0
    """Share of the training data whose labels are used, in (0, 1]. Fractions are nested."""
    fraction_unit: str = "log"
    """What the share counts and draws: `log`, `drive` (all logs of one drive) or `token` (single
    windows, which overlap their neighbours: it thins out every drive and keeps its diversity)."""
    allow_empty_strata: bool = False
    """Accept a label fraction that leaves a city without any."""
    subset_seed: int = 0
    """Draws the label fraction; apart from the training seed on purpose."""
    budget: str = "steps"
    """What a label fraction keeps of the training at all labels: `steps` (as many optimizer
    steps) or `epochs` (as many passes over its labels, so fewer steps)."""
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
    has_route: bool = True
    """Whether windows without a route at their current frame are left out, as in NAVSIM."""
    image_hw: tuple[int, int] = (256, 1024)
    """Stitched camera image the models see [px]."""
    cameras: list[str] = field(default_factory=lambda: list(CAMERAS))
    """Cameras in it, from left to right: [CAM_L0, CAM_F0, CAM_R0], or fewer, e.g. [CAM_F0] for
    encoders of 224 x 224."""
    decode: str = "full"
    """`full` (NAVSIM's recipe: all pixels are decoded, then resized bilinearly without
    antialiasing, as OpenCV does), `scaled` (the JPEG decoder itself halves once to three times, as
    far as `image_hw` allows; cheaper, and not the same pixels) or `gpu` (as `full` but for
    rounding, by the GPU of the run; JPEGs only)."""
    augmentation: str = "none"
    """`none`, or `photometric`: brightness, contrast and colours of training images vary from
    visit to visit. What is where stays, since the plan is in metres."""
    bev_px: int = 256
    """Edge of the square LiDAR bird's-eye-view histogram [px]."""
    bev_range_m: float = 32.0
    """Half the edge of that histogram [m]."""
    num_workers: int = 0
    """Dataloader processes per rank."""
    val_num_workers: int | None = None
    """Those of the validation loader; `null` takes as many. Those for training live on beside."""
    persistent_workers: bool = False
    """Keep the workers of the validation loader between two validations."""
    cache_decoded: bool = False
    """Decode everything once and keep it in memory; for data that fits."""
    decoded_dir: str | None = None
    """Folder on a disk of the node, such as `$TMPDIR`, where decoded sensors are kept from their
    first visit on, for all its ranks. Delete it if sensor files change under their names."""

    def __post_init__(self) -> None:
        one_of("data.source", self.source, SOURCES)
        self._check_images()
        one_of("data.split", self.split, ("random", "navsim", "custom"))
        one_of("data.budget", self.budget, ("steps", "epochs"))
        one_of("data.fraction_unit", self.fraction_unit, ("log", "drive", "token"))
        if not 0.0 < self.fraction <= 1.0:
            raise ConfigError(
                f"`data.fraction={self.fraction}` is outside (0, 1]",
                hint="a label fraction is a share of the training data, e.g. data.fraction=0.1",
            )
        at_least("data.num_history_frames", self.num_history_frames, 1)
        at_least("data.num_future_frames", self.num_future_frames, POSES)
        at_least("data.frame_interval", self.frame_interval, 1)
        self._check_split()
        at_least("data.num_workers", self.num_workers, 0)
        if self.val_num_workers is not None:
            at_least("data.val_num_workers", self.val_num_workers, 0)

    def _check_images(self) -> None:
        one_of("data.decode", self.decode, ("full", "scaled", "gpu"))
        self._check_keeping()
        one_of("data.augmentation", self.augmentation, ("none", "photometric"))
        for camera in self.cameras:
            one_of("data.cameras", camera, CAMERAS)
        if not self.cameras or self.cameras != [c for c in CAMERAS if c in self.cameras]:
            raise ConfigError(
                f"`data.cameras={self.cameras}` is not in the order of the stitched image",
                hint=f"name at least one, each once, from left to right: {', '.join(CAMERAS)}",
            )

    def _check_keeping(self) -> None:
        """Refuse several answers to when sensors are decoded."""
        given = {
            "data.decode=gpu": self.decode == "gpu",
            "data.cache_decoded=true": self.cache_decoded,
            "data.decoded_dir": self.decoded_dir is not None,
        }
        chosen = [name for name, is_chosen in given.items() if is_chosen]
        if len(chosen) > 1:
            off = "; scale=tiny and scale=small set it, so add data.cache_decoded=false"
            raise ConfigError(
                f"`{chosen[0]}` and `{chosen[1]}` are two answers to when sensors are decoded",
                hint="data.decode=gpu decodes at each visit, data.decoded_dir at the first of a"
                f" node, data.cache_decoded before all{off * self.cache_decoded}",
            )
        self._check_decoded_dir()

    def _check_decoded_dir(self) -> None:
        name = self.decoded_dir
        if name is not None and not name.startswith(("/", "~", "$")):
            raise ConfigError(
                f"`data.decoded_dir={name}` is no absolute path",
                hint="name a folder on a disk of the node, such as $TMPDIR or /scratch/me, or null",
            )
        if self.decoded_dir is not None and self.source == "navsim_cache":
            raise ConfigError(
                "`data.decoded_dir` has no meaning with `data.source=navsim_cache`, whose features"
                " are decoded already"
            )

    def check_decoding(self, accelerator: str, task: str) -> None:
        """Raise ConfigError where the accelerator of a task, `cpu` or `gpu`, decodes no images."""
        if self.decode != "gpu":
            return
        if accelerator != "gpu":
            raise ConfigError(
                f"`data.decode=gpu` decodes images on a GPU, but this run (task={task}) has none",
                hint="ask for one (resources.gpus=1), or use data.decode=full",
            )
        if find_spec("torchcodec") is None:
            raise ConfigError(
                "`data.decode=gpu` needs torchcodec, which is not installed",
                hint="install it (pip install torchcodec), or use data.decode=full",
            )

    def _check_split(self) -> None:
        """Refuse keys that this way of splitting would ignore, or lacks."""
        used = {
            "random": ("filter",),
            "navsim": ("filter", "test_filter", "split_files"),
            "custom": ("filter", "val_filter", "test_filter"),
        }[self.split]
        for key in ("filter", "val_filter", "test_filter", "split_files"):
            if getattr(self, key) and key not in used:
                raise ConfigError(
                    f"`data.{key}` has no meaning with `data.split={self.split}`",
                    hint=f"data.split={self.split} reads: {', '.join(used)}",
                )
            if self.split == "custom" and key in used and not getattr(self, key):
                raise ConfigError(
                    f"`data.split=custom` needs `data.{key}`",
                    hint="give three scene filters: data.filter, data.val_filter, data.test_filter",
                )
