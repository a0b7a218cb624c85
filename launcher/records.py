"""What a study leaves on disk, one model per file. Every file carries `schema_version`.

Each file has one writer: who holds the study's lock writes `study.json`, `batches/` and
`submissions/`, rank 0 of an attempt writes `attempts/<id>.json`, `launch cancel` writes
`cancelled.json`, who concludes an attempt writes `attempts/<id>.verdict.json`.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from launcher.topology import Shape

SCHEMA_VERSION = 1

Outcome = Literal[
    "completed",
    "walltime",
    "preempted",
    "node_failure",
    "host_oom",
    "gpu_oom",
    "rendezvous",
    "hang",
    "crash",
    "disk_full",
    "launch_failure",
    "task_error",
    "cancelled",
]
"""Why an attempt ended (docs/explanation/outcomes.md). `rendezvous`: a rank never joined;
`crash`: a rank died of a signal, or without a word; `launch_failure`: no rank ever started."""

Action = Literal["none", "requeue", "requeue_changed", "stop"]
"""What follows an attempt. `none`: nothing to do, or SLURM has requeued it by itself;
`requeue_changed`: requeued with less need of memory, or without some nodes."""

RunState = Literal[
    "new", "held", "waiting", "pending", "running", "completed", "failed", "cancelled", "unknown"
]
"""Where a run stands. `held`: frozen, not sent yet. `waiting`: for a run that it requires."""


class Record(BaseModel):
    """Base of all records: unknown fields of a newer version are kept, not refused."""

    model_config = ConfigDict(extra="allow", frozen=True)
    schema_version: int = SCHEMA_VERSION


class RunEntry(Record):
    """A run as its study declares it."""

    key: str
    name: str
    overrides: list[str]
    run_dir: str
    """Folder; relative to the study's where it lies inside, so that a study can be moved."""
    requires: dict[str, str] = {}
    """Name -> key of the runs it waits for."""


class StudyRecord(Record):
    """`study.json`: the declared runs in order, and what to do when they are finished."""

    study_id: str
    created: str
    """When it was first issued; all else is of the latest command."""
    command: list[str]
    overrides: list[str]
    runs: list[RunEntry]
    prerequisites: list[RunEntry] = []
    unwanted: list[RunEntry] = []
    """Runs that an earlier command declared and the latest one did not."""
    followed: list[str] = []
    """Keys of prerequisites of another study, whose commands alone send or cancel them."""
    report: str | None = None
    page: str | None = None
    """Function that writes the page of `launch report`."""
    cluster: str = "local"
    scheduler: str = "local"
    environment: dict[str, str] = {}
    """Variables for the scheduler's own commands."""


class Adjustments(Record):
    """What an attempt changes of its submission because of how earlier attempts ended."""

    config: dict[str, Any] = {}
    """Dotted config key -> value, e.g. fewer dataloader workers."""
    mem_gb: float | None = None
    """Host memory of each node [GB]."""
    mem_first_gb: float | None = None
    """What was asked before any change; the rungs of the memory ladder are factors of it [GB]."""
    exclude: list[str] = []
    """Nodes that are not to be used."""


class Place(Record):
    """Where a run was sent."""

    cluster: str = ""
    partition: str | None = None
    gpu_type: str | None = None
    """Type of its GPUs; None where it has none of its own."""
    accelerator: str = ""
    """`gpu` where it computes on GPUs, `cpu` where it has none or they are pretended; empty in
    records that do not say."""


class SubmissionRecord(Record):
    """`submissions/<number>/submission.json`: one sending of a run, enough to send it again."""

    key: str
    name: str
    number: int
    scheduler: str
    token: str
    """Names the sending; the scheduler is told it, so that it can be found after a crash."""
    index: int = 0
    """Place of the run in its batch."""
    batch: str | None = None
    """File of the batch that it is sent with; SLURM only."""
    job_id: str | None = None
    """Where there is no batch: the process, once it is started."""
    submitted: str
    shape: Shape
    code: str
    """Content hash of the code snapshot."""
    commit: str = ""
    """Commit of the work tree, `+changes` where files differed from it."""
    config_sha: str = ""
    """Hash of the whole config, with the parts that do not count for the key."""
    payload: str
    """File of the pickled task."""
    config: str
    """File of the pickled config."""
    accelerator: str = "cpu"
    inputs: dict[str, str] = {}
    """Name -> folder of the runs it waits for."""
    after: list[str] = []
    """Keys of the runs that were not finished when it was sent."""
    is_required: bool = False
    environment: dict[str, str] = {}
    """Variables of the scheduler's own commands: which SLURM it was sent to."""
    parameters: dict[str, Any] = {}
    """What the scheduler is told: partition, time, setup lines ..."""
    python_path: list[str] = []
    place: Place = Place()
    profile: str = ""
    """Folder in which runs that take the same are remembered; empty where nothing is."""
    probe: dict[str, Any] | None = None
    """`launcher.settings.ProbeConfig` as plain values, of a run that only measures."""
    recovery: dict[str, Any] = {}
    """`launcher.settings.RecoveryConfig` as plain values: what follows which outcome."""
    adjustments: Adjustments = Adjustments()
    """What earlier sendings had to change, so that it is not learnt twice."""


class BatchPart(Record):
    """One call of sbatch: array elements `first` to `last` of a batch."""

    first: int
    last: int
    job_id: str | None = None
    """None: written before sbatch was called, and not completed after it."""


class BatchRecord(Record):
    """`batches/<token>.json`: runs of one shape that are sent as one array."""

    token: str
    created: str
    submissions: list[str]
    """Folders of the submissions, in the order of the array."""
    parts: list[BatchPart] = []

    @property
    def is_array(self) -> bool:
        """Whether its runs are elements of an array; a run alone is a plain job."""
        return len(self.submissions) > 1

    def job_id(self, index: int) -> str | None:
        """Job id of the run at `index`, None while it is not sent."""
        for part in self.parts:
            if part.first <= index <= part.last and part.job_id is not None:
                return f"{part.job_id}_{index}" if self.is_array else part.job_id
        return None


class CancelRecord(Record):
    """`cancelled.json`: somebody cancelled this sending; written before the scheduler is told."""

    number: int
    time: str


class AttemptRecord(Record):
    """`attempts/<id>.json`: one life of a run, from job start to job end."""

    attempt: str
    key: str
    job_id: str
    host: str
    pid: int
    world_size: int
    started: str
    ended: str | None = None
    outcome: Outcome | None = None
    error: str | None = None
    """Last line of the exception."""
    traceback: str | None = None
    missing: list[str] = []
    """Ranks that never joined, or fell behind, with their nodes, e.g. `rank 3 on gl002`."""
    stop_signal: str | None = None
    """Signal that asked it to stop, e.g. `SIGUSR2`, where one came."""
    resumed_step: int | None = None
    """Optimizer step of the checkpoint that it went on from; None where it began anew."""
    saved_step: int | None = None
    """Optimizer step of its last checkpoint that is safely on disk."""
    micro_batch_size: int | None = None
    """Samples that a rank held at once, where the task said so."""
    mem_peak_gb: float | None = None
    """Most host memory of the job on this node, or of the process where no cgroup says."""
    result: Any = None
    """What the task returned, where JSON can hold it."""


Phase = Literal["start", "train", "switch", "validate", "checkpoint", "other"]
"""What a rank is doing. `switch`: from training to validation, until its first batch."""


class PhaseUse(Record):
    """Most that was seen in use while a rank was in one phase. Memory in GB of 2**30 bytes."""

    phase: Phase
    seconds: float
    looks: int
    """How often it was looked at."""
    node_gb: float | None = None
    """Memory of the job on this node that the kernel cannot take back: its cgroup's usage less
    file pages. Only local rank 0 looks; None where no cgroup tells."""
    node_with_cache_gb: float | None = None
    """The same with file pages."""
    rank_gb: float = 0.0
    """The rank's own process: anonymous and shared memory, pages it shares counted by part."""
    workers: int = 0
    """Dataloader processes of the rank."""
    workers_gb: float = 0.0
    """The same of all of them together."""
    worker_private_gb: float = 0.0
    """Mean of what one of them holds alone, batches in flight included."""
    gpu_gb: float | None = None
    """Peak of what torch allocated on the GPU."""
    gpu_reserved_gb: float | None = None


class LoaderUse(Record):
    """One dataloader of a rank."""

    stage: Literal["train", "validate"]
    workers: int
    is_persistent: bool = False
    prefetch: int | None = None
    """Batches in flight per worker."""
    batch_size: int | None = None
    batch_gb: float | None = None
    """Tensors of one batch."""
    samples: int | None = None
    """Of the whole data set over all ranks, where that is known."""


class RankUse(Record):
    """`attempts/<id>.use/<rank>.json`: what a rank took, rewritten while it lives."""

    attempt: str
    key: str
    rank: int
    local_rank: int
    host: str
    world_size: int
    num_nodes: int
    ranks_per_node: int
    cpus_per_rank: int
    mem_gb: float | None = None
    """Limit of the job on this node [GB]."""
    place: Place = Place()
    gpu_name: str | None = None
    gpu_mem_gb: float | None = None
    time: str = ""
    phases: list[PhaseUse] = []
    loaders: list[LoaderUse] = []
    overlaps: bool | None = None
    """Whether workers for training lived on while it validated; None before a validation."""
    micro_batch_size: int | None = None
    batch_size: int | None = None
    """Samples of an optimizer step over all ranks."""
    total_steps: int | None = None
    """Optimizer steps of the whole training."""
    timed_steps: int = 0
    """Optimizer steps behind the next three figures; the first ones after a start are left out."""
    step_s: float | None = None
    """Mean time of an optimizer step, with data, without validation and checkpoints [s]."""
    data_wait_share: float | None = None
    """Part of that time in which the rank waited for its loader."""
    samples_per_s: float | None = None
    """Of all ranks together."""
    validations: int = 0
    validation_s: float | None = None
    """Mean time of a validation [s]."""
    validation_batches: float | None = None
    """Mean number of batches in one, from its first loader; None in records that do not say."""
    checkpoint_s: float | None = None
    """Time the last resume checkpoint took until it was on disk [s]."""
    start_s: float | None = None
    """From the start of the process to the first optimizer step [s]."""
    weights_gb: float | None = None
    gradients_gb: float | None = None
    optimizer_gb: float | None = None
    gpu_utilization: float | None = None
    """Mean over the timed steps, from 0 to 1, as NVML tells."""
    gpu_power_w: float | None = None
    """Mean over the timed steps [W], as NVML tells."""
    is_probe: bool = False
    outcome: Outcome | None = None


class VerdictRecord(Record):
    """`attempts/<id>.verdict.json`: why an attempt ended, how that is known, what was done.

    The first of rank 0, the guard of the batch script, the local controller and `launch resume`
    that concludes the attempt writes it, before it acts.
    """

    attempt: str
    key: str
    job_id: str
    time: str
    by: str
    """Who concluded: `rank 0`, `guard`, `controller` or `launch`."""
    outcome: Outcome
    evidence: list[str]
    """How that is known, a sentence each, with its source."""
    action: Action
    note: str = ""
    """Why this action, e.g. `budget spent: 3 attempts in a row without progress`."""
    adjustments: Adjustments = Adjustments()
    """Those of the next attempt, all earlier ones included."""
    saved_step: int | None = None
    checkpoint: str = ""
    """Its newest resume checkpoint, e.g. `fit-00/step-000000120`; later ones sort behind it."""
    progressed: bool = True
    """Whether it saved something newer than all lives of the sending before it."""
    acted: str | None = None
    """When the action was carried out; None while it is not, or could not be."""
    failure: str = ""
    """Why the action could not be carried out."""
