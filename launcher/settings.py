"""What can be set under `hydra.launcher.*`, with every default in one place.

The settings extend those of hydra-submitit-launcher, so each key its users know is accepted.
Registered as Hydra schemas by `register`: a misspelt key dies on the submitting machine.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra_plugins.hydra_submitit_launcher.config import SlurmQueueConf
from omegaconf import OmegaConf

DEFAULT_KEY_EXCLUDE = (
    "hydra",
    "cluster",
    "resources",
    "launcher",
    "recovery",
    "paths",
    "tracking",
    "verbose",
)
"""Parts of a config that do not change the science, hence not the key of a run."""

SWITCHES = ("dry_run", "show_script", "yes", "force", "failed", "unwanted", "wait")
"""Settings that say what a command does with a study, and nothing about its runs. A program may
have keys of these names at the top of its config that stand for `hydra.launcher.<key>`."""


@dataclass(kw_only=True)
class ResourcesConfig:
    """What a run needs. Ranks, tasks, devices and accumulation follow from it."""

    gpus: int | None = None
    """GPUs in all; spread over as few nodes as hold them. 0 trains on CPU with one rank."""
    nodes: int | None = None
    """Nodes; with `gpus_per_node` the explicit form of a shape."""
    gpus_per_node: int | None = None
    """GPUs, and therefore ranks, on each node."""
    cpus_per_rank: int = 1
    """CPU cores of each rank; its dataloader workers share them."""
    mem_gb: float | None = None
    """Host memory of each node [GB]; `null` takes the share of a node that goes with its GPUs or
    CPUs where the profile knows how large nodes are, else the site's default."""
    cpu_mem_gb: float | None = None
    """The same for a run without GPUs, where `mem_gb` is null [GB]."""
    timeout_min: int = 60
    """Time limit of one attempt [min]."""
    gpu_choices: list[int] = field(default_factory=lambda: [1, 2, 4, 8, 16])
    """Numbers of GPUs that `launch plan` compares, and that `cluster.partition=auto` may choose
    from where `gpus` is null."""


@dataclass(kw_only=True)
class DialectConfig:
    """In which words a site wants to be asked."""

    gpus: str = "gres"
    """`gres` (`--gres=gpu:4`) or `gpus_per_node` (`--gpus-per-node=4`)."""
    memory: str = "node"
    """`node` (`--mem`), `cpu` (`--mem-per-cpu`), or `none` where a site forbids both."""


@dataclass(kw_only=True)
class PythonConfig:
    """How Python starts on a node."""

    kind: str = "same"
    """`same` (the interpreter that submits), `venv`, `conda` or `apptainer`."""
    path: str | None = None
    """Folder of the venv, name or folder of the conda environment, or the image."""
    modules: list[str] = field(default_factory=list)
    """Environment modules that are loaded before, e.g. `cuda/12.4`."""
    module_init: str | None = None
    """Shell file that defines `module`, where a batch script does not find it by itself."""
    binds: list[str] = field(default_factory=list)
    """apptainer: folders to bind, `outside[:inside[:ro]]`."""
    overlay: str | None = None
    """apptainer: overlay image or folder."""
    nv: bool = True
    """apptainer: pass GPUs of NVIDIA through (`--nv`), for jobs that ask for GPUs."""


@dataclass(kw_only=True)
class PartitionConfig:
    """One partition of a site; null and 0 mean that nobody knows, or that nothing limits it."""

    gpu_type: str | None = None
    """Type in `--gres=gpu:<type>:<n>`; `null` writes `--gres=gpu:<n>`."""
    gpus_per_node: int | None = None
    gpu_mem_gb: float | None = None
    """Memory of one GPU [GB]."""
    cpus_per_node: int | None = None
    mem_gb_per_node: float | None = None
    """Memory a job may ask of a node [GB]."""
    num_nodes: int | None = None
    """Nodes of the partition."""
    max_nodes: int | None = None
    """Most nodes of one job."""
    max_gpus: int | None = None
    """Most GPUs of one job, or of one user at once."""
    max_time_min: int | None = None
    """Longest time limit [min]."""
    max_submit: int | None = None
    """Most jobs, array elements counted, that one user may have in the queue."""
    account: str | None = None
    """Account that may use it, where it is another than the site's."""
    qos: str | None = None
    accounts: list[str] = field(default_factory=list)
    """Accounts of the user that were seen to be let in; empty where nobody looked."""
    qos_choices: list[str] = field(default_factory=list)
    """QOS that were seen to be let in with `account`."""
    is_preemptible: bool = False
    grace_time_s: int = 0
    """Time that a preempted job is left [s]."""
    speed: float | None = None
    """Training speed of one GPU relative to the other partitions' figures."""
    setup: list[str] = field(default_factory=list)
    """Shell lines before Python starts, after the site's own."""


@dataclass(kw_only=True)
class ClusterConfig:
    """A site: where jobs go, how large its nodes are, which words its SLURM understands.

    What is said of one partition below `partitions` counts where the same key here is null.
    """

    name: str = "local"
    partition: str | None = None
    """`auto` takes the one that `objective` favours; `null` the site's default."""
    objective: str = "finish"
    """Of `partition=auto`: `finish` (earliest) or `gpu_hours` (fewest)."""
    partitions: dict[str, PartitionConfig] = field(default_factory=dict)
    """Partitions by name, as `launch cluster discover` finds them."""
    account: str | None = None
    qos: str | None = None
    gpu_type: str | None = None
    """Type in `--gres=gpu:<type>:<n>`; `null` writes `--gres=gpu:<n>`."""
    gpus_per_node: int | None = None
    """GPUs of a node; `null` where they are found out (local) or do not matter."""
    cpus_per_node: int | None = None
    mem_gb_per_node: float | None = None
    """Memory a job may ask of a node [GB]."""
    max_time_min: int | None = None
    """Longest time limit of the partition [min]."""
    gpu_mem_gb: float | None = None
    """Memory of one GPU [GB]."""
    num_nodes: int | None = None
    max_nodes: int | None = None
    max_gpus: int | None = None
    max_submit: int | None = None
    max_array_size: int | None = None
    """MaxArraySize of the site, by which arrays are split; `null` asks SLURM."""
    accelerator: str = "gpu"
    """`gpu`, or `cpu` where GPUs are pretended or absent."""
    environment: dict[str, str] = field(default_factory=dict)
    """Variables for sbatch, squeue and sacct, e.g. SLURM_CONF of a second cluster."""
    setup: list[str] = field(default_factory=list)
    """Shell lines before Python starts on a node, e.g. to source what the site offers."""
    dialect: DialectConfig = field(default_factory=DialectConfig)
    python: PythonConfig = field(default_factory=PythonConfig)
    job_environment: dict[str, dict[str, str]] = field(default_factory=dict)
    """GPU type, or `all`, -> variables of the jobs there: presets of NCCL."""
    requeue: bool | None = None
    """Whether SLURM may put a job back into its queue (JobRequeue); null where nobody looked."""
    work_dir: str | None = None
    """Shared folder for outputs; scratch_dir the faster or larger one that is cleaned."""
    scratch_dir: str | None = None
    has_accounting: bool | None = None
    """Whether sacct answers."""
    nodes_have_internet: bool | None = None
    """Whether W&B can be reached from the nodes."""


@dataclass(kw_only=True)
class KeysConfig:
    """Which keys of a program's config say what is planned with; a key it has not is unknown."""

    num_workers: str = "data.num_workers"
    """Dataloader workers of each rank while it trains."""
    val_num_workers: str = "data.val_num_workers"
    """Those of its validation loaders; where absent or null as many as for training."""
    persistent_workers: str = "data.persistent_workers"
    """Whether workers outlive the end of their loader's epoch."""
    batch_size: str = "trainer.batch_size"
    """Effective batch: samples of an optimizer step over all ranks."""
    max_micro_batch_size: str = "trainer.max_micro_batch_size"
    """Most samples that a rank holds at once."""
    max_steps: str = "trainer.max_steps"
    """Optimizer steps of the whole training."""
    max_epochs: str = "trainer.max_epochs"
    val_every_steps: str = "trainer.val_every_steps"
    """Optimizer steps between two validations; where absent or null one follows each epoch."""
    devices: str = "trainer.devices"
    """Half of a shape: where a config has it, it must agree with `resources`."""
    num_nodes: str = "trainer.num_nodes"


@dataclass(kw_only=True)
class MemoryConfig:
    """How the host memory of a run is predicted."""

    margin: float = 0.1
    """What is added to a prediction, as a share of it."""
    needs: str | None = None
    """Function `module:name` of the composed config -> `launcher.estimates.memory.Needs`: what
    grows with the config besides workers and batches, such as an index that each rank holds."""
    grows_with: list[str] = field(default_factory=list)
    """Dotted keys that `needs` reads: runs of one profile may differ in them."""


@dataclass(kw_only=True)
class ProbeConfig:
    """A short run that measures: some steps of training, some of validation, a checkpoint."""

    steps: int = 20
    """Optimizer steps; the first few are warm-up, and are not timed."""
    val_batches: int = 8
    timeout_min: int = 15


@dataclass(kw_only=True)
class RecoveryConfig:
    """What follows the end of an attempt, and how often. Checked by `launcher.recovery.check`."""

    policy: dict[str, str] = field(
        default_factory=lambda: {
            "walltime": "resume",
            "preempted": "resume",
            "node_failure": "resume",
            "host_oom": "less_memory",
            "gpu_oom": "smaller_micro_batch",
            "rendezvous": "elsewhere",
            "hang": "elsewhere",
            "crash": "resume",
            "launch_failure": "elsewhere",
            "disk_full": "stop",
            "task_error": "stop",
        }
    )
    """Outcome -> `resume`, `less_memory`, `smaller_micro_batch`, `elsewhere` or `stop`."""
    retries: dict[str, int] = field(
        default_factory=lambda: {
            "crash": 1,
            "rendezvous": 1,
            "hang": 1,
            "launch_failure": 2,
            "gpu_oom": 4,
        }
    )
    """Outcome -> how often one sending of a run may go on after it; others: `max_attempts`."""
    max_attempts: int = 100
    """Lives of one sending of a run, the first included; 1 never goes on."""
    max_without_progress: int = 3
    """Lives in a row that end without a newer checkpoint."""
    memory_ladder: list[dict[str, Any]] = field(
        default_factory=lambda: [{"mem": 1.5}, {"mem": 2.0}, {"mem": "node"}]
    )
    """Rungs to climb after a host runs out of memory. `mem` is a factor of what was asked first,
    or `node`; other entries are config keys with an upper bound, e.g. `data.num_workers: 2`."""
    micro_batch_key: str | None = None
    """Config key that is halved when a GPU runs out of memory; the effective batch must stay."""
    checkpoint_every_min: float = 10.0
    """Most training time that a node failure can cost [min]; less in the first minutes."""
    checkpoint_every_steps: int | None = None
    """Also save after so many optimizer steps."""
    keep_checkpoints: int = 2
    """Resume checkpoints that are kept; the older one serves when the newest is damaged."""
    stop_grace_s: float = 60.0
    """How long a task may go on after it was asked to stop, before it is ended [s]."""
    rendezvous_timeout_s: float = 300.0
    """How long ranks wait for each other at the start [s]."""
    hang_factor: float = 20.0
    """No step for so many times the usual duration of one is a hang."""
    hang_min_s: float = 300.0
    """A silence shorter than this is never a hang [s]."""


@dataclass(kw_only=True)
class FollowConfig:
    """A study whose runs are followed, one by one, by runs of this command: `launch evaluate`."""

    study: str | None = None
    """Its folder; `null` follows none."""
    label: str = "train"
    """The requirement that a followed run stands for: `requires.<label>` says what it must be."""
    may_differ: list[str] = field(default_factory=list)
    """Dotted keys in which the run that follows may differ from the followed one."""
    anew: list[str] = field(default_factory=list)
    """Labels of further requirements that are composed, while all others are what the followed
    run was made from."""


@dataclass
class StudyLauncherConf(SlurmQueueConf):
    """Settings of our launchers; the stock keys that describe a shape default to unset."""

    _target_: str = "hydra_plugins.study_launcher.SlurmLauncher"
    submitit_folder: str = "${hydra.sweep.dir}/.submitit"
    """One flat folder, because SLURM makes none, and a job may start before submitit does."""
    stderr_to_stdout: bool = True
    """One log per rank, in the order in which things happened."""
    timeout_min: int | None = None  # type: ignore[assignment]
    nodes: int | None = None  # type: ignore[assignment]
    tasks_per_node: int | None = None  # type: ignore[assignment]
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    """Site profile."""
    resources: ResourcesConfig = field(default_factory=ResourcesConfig)
    """Shape of each run."""
    requires: dict[str, Any] = field(default_factory=dict)
    """Runs this one waits for: name -> overrides that turn this run into that one, or null."""
    follow: FollowConfig = field(default_factory=FollowConfig)
    """Another study, whose runs are followed."""
    shared_dir: str = "${hydra.sweep.dir}/../prerequisites"
    """Folder of required runs; several studies share them."""
    key_exclude: list[str] = field(default_factory=lambda: list(DEFAULT_KEY_EXCLUDE))
    """Dotted config keys that do not change the science."""
    key_include: list[str] = field(default_factory=list)
    """Dotted keys that count for the key all the same, for studies of what does not change the
    science: `[resources.gpus]` makes runs on 1, 2 and 4 GPUs three runs."""
    validate: list[str] = field(default_factory=list)
    """Functions `module:name` called with each composed config before anything is sent."""
    recovery: RecoveryConfig = field(default_factory=RecoveryConfig)
    """What follows when an attempt ends early."""
    config_keys: KeysConfig = field(default_factory=KeysConfig)
    """Which keys of the config say what is planned with."""
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    """How host memory is predicted."""
    profiles_dir: str = "${hydra.runtime.cwd}/.launcher/profiles"
    """Folder of what earlier runs took; all studies of a project share it."""
    profile_ignore: list[str] = field(default_factory=list)
    """Dotted keys that change neither memory nor speed of a step, besides `config_keys` and
    `key_exclude`: runs that differ in nothing else are measured for each other."""
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    """What `launch probe` runs."""
    skip_checks: list[str] = field(default_factory=list)
    """Checks of a submission that are not made, by name (`launch doctor` lists them)."""
    action: str = "submit"
    """`submit`, or what the commands of that name ask a program for: `plan`, `doctor`, `probe`."""
    plan_gpus: list[int] = field(default_factory=list)
    """Numbers of GPUs that `launch plan` compares, instead of `resources.gpu_choices` and what
    is asked for."""
    as_json: bool = False
    """Whether `launch plan` and `launch doctor` answer in JSON instead of a table."""
    report: str | None = None
    """Function `module:name` called with the finished study; writes tables and figures."""
    page: str | None = None
    """Function `module:name` that writes the page of `launch report`, which is also written when
    a study that was followed has ended; `null` where there is none, or none is wanted."""
    study: str | None = None
    """Name of the study; `null` names it by what it sweeps and a hash of what it asks for."""
    dry_run: bool = False
    """Print the plan and stop; no file is left."""
    show_script: bool = False
    """Print the sbatch scripts with the plan."""
    yes: bool = False
    """Send without asking, however large the study is."""
    ask_above_runs: int = 200
    """With more runs to send to a cluster than this, ask first."""
    ask_above_gpu_hours: float = 1000.0
    """With more GPU-hours to ask for than this, ask first."""
    failed: str | None = None
    """`retry` or `keep` all failed runs. Default: those that failed by the cluster are sent
    again, those whose task raised only after their code or config changed."""
    force: bool = False
    """Send finished and failed runs once more; those on their way are left alone."""
    unwanted: str = "keep"
    """`keep` or `cancel` the runs that this study once declared and no longer does."""
    key_code: bool = False
    """Whether the version of the code is part of a run's key."""
    wait: bool | None = None
    """Follow the runs to their end. Default: local and debug wait, slurm detaches."""
    poll_s: float = 2.0
    """Time between two looks at the runs while waiting [s]."""


@dataclass
class LocalLauncherConf(StudyLauncherConf):
    """Runs on this machine, at most as many at once as its cores, memory and GPUs allow."""

    _target_: str = "hydra_plugins.study_launcher.LocalLauncher"
    poll_s: float = 0.5
    max_parallel: int | None = None
    """Upper bound on runs at once; `null` lets cores, memory and GPUs decide."""


@dataclass
class DebugLauncherConf(StudyLauncherConf):
    """Runs in this process, one after the other; breakpoints work."""

    _target_: str = "hydra_plugins.study_launcher.DebugLauncher"


SCHEMAS: dict[str, Any] = {
    "slurm": StudyLauncherConf,
    "local": LocalLauncherConf,
    "debug": DebugLauncherConf,
}


def register(**values: Any) -> None:
    """Offer `hydra/launcher=slurm|local|debug` with the given settings.

    The first call wins: a program that registers before Hydra loads its plugins may point
    settings to groups of its own config, e.g. `register(cluster="${cluster}")`.
    """
    store = ConfigStore.instance()
    offered = store.list("hydra/launcher") if "launcher" in store.repo.get("hydra", {}) else []
    for name, schema in SCHEMAS.items():
        if f"{name}.yaml" in offered:
            continue
        node = OmegaConf.structured(schema)
        for key, value in values.items():
            # Assigned, because OmegaConf refuses to merge a reference into a dataclass.
            node[key] = value
        store.store(group="hydra/launcher", name=name, node=node, provider="launcher")
