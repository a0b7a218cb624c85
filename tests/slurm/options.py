"""What a lab looks like: its nodes, its rules, its extras."""

from dataclasses import dataclass
from pathlib import Path

from .errors import LabError


@dataclass(frozen=True, kw_only=True, slots=True)
class LabOptions:
    """The knobs of one lab. None of the pretended hardware has to exist."""

    nodes: int = 4
    """How many nodes; each is one slurmd on this machine."""

    node_prefix: str = "gl"
    """Node names are this and three digits: gl001, gl002."""

    gpus_per_node: int = 4
    """Pretended GPUs of each node; 0 makes a cluster without any."""

    real_gpus: bool = False
    """Hand out the machine's own GPUs, `gpus_per_node` to each node in turn."""

    gpu_type: str = "l40s"
    """Type in `--gres=gpu:<type>:2`."""

    cpus_per_node: int = 8
    """Pretended cores of each node."""

    real_memory_mb: int = 16_000
    """Memory that SLURM may hand out on each node. The limit of a job is real, the sum is not."""

    accounting: bool = True
    """Run slurmdbd on a private MariaDB, so that sacct and sacctmgr work."""

    preempt_user_signal: bool = False
    """Send a preempted job the signal of its `--signal` before SIGTERM, as some sites do."""

    grace_time_s: int = 10
    """How long a preempted job of the partition `preempt` may live on."""

    kill_wait_s: int = 10
    """Seconds between SIGTERM and SIGKILL at the time limit."""

    max_array_size: int = 1001
    """Largest array index plus one; small values show whether arrays are split."""

    extra_conf: tuple[str, ...] = ()
    """Further lines for slurm.conf. They come last, and for most keys the last line wins."""

    expose: tuple[str, ...] = ()
    """Absolute paths that the ordinary user must reach although a parent folder is closed."""

    def __post_init__(self) -> None:
        """Refuse what SLURM would stumble over later."""
        least = {"nodes": 1, "cpus_per_node": 1, "real_memory_mb": 1, "gpus_per_node": 0}
        for name, minimum in least.items():
            if (value := getattr(self, name)) < minimum:
                raise LabError(f"`{value}` is less than {minimum}", where=f"option `{name}`")
        for path in self.expose:
            if not Path(path).is_absolute():
                raise LabError(f"`{path}` is no absolute path", where="option `expose`")

    @property
    def node_names(self) -> tuple[str, ...]:
        """Name the nodes in the order of their ports."""
        return tuple(f"{self.node_prefix}{index:03d}" for index in range(1, self.nodes + 1))
