"""Which rank of which job this process is, as whoever started it says."""

from __future__ import annotations

import os
import random
import socket
import time
import zlib
from dataclasses import dataclass

RESTARTS = "LAUNCHER_RESTARTS"
JOB_ID = "LAUNCHER_JOB_ID"
RANK = "LAUNCHER_RANK"
"""Set by the local controller; SLURM's own variables count where they are absent."""
PORT = "LAUNCHER_PORT"
"""Where rank 0 listens: found free on its host by whoever starts the ranks."""
_PORTS = range(20000, 32000)
"""Below those that the kernel gives to outgoing connections."""


@dataclass(frozen=True, kw_only=True)
class World:
    """One rank's view of its job."""

    scheduler: str
    """`slurm` or `local`."""
    job_id: str
    rank: int
    local_rank: int
    world_size: int
    """Ranks that were started, whatever was asked for."""
    hostnames: list[str]
    restart: int
    """How often the job was requeued."""
    ends_s: float | None
    """When the time limit ends it, in seconds since the epoch, where somebody says so."""

    @classmethod
    def of_this_process(cls) -> World:
        """Read the environment."""
        if RANK in os.environ:
            return cls._of_controller()
        import submitit

        job = submitit.JobEnvironment()
        end = os.environ.get("SLURM_JOB_END_TIME")
        return cls(
            scheduler="slurm",
            job_id=str(job.job_id),
            rank=job.global_rank,
            local_rank=job.local_rank,
            world_size=job.num_tasks,
            hostnames=list(job.hostnames),
            restart=int(os.environ.get("SLURM_RESTART_COUNT", "0")),
            ends_s=float(end) if end else None,
        )

    @classmethod
    def _of_controller(cls) -> World:
        end = os.environ.get("LAUNCHER_END_TIME")
        return cls(
            scheduler="local",
            job_id=os.environ[JOB_ID],
            rank=int(os.environ[RANK]),
            local_rank=int(os.environ[RANK]),
            world_size=int(os.environ["LAUNCHER_WORLD_SIZE"]),
            hostnames=["127.0.0.1"],
            restart=int(os.environ[RESTARTS]),
            ends_s=float(end) if end else None,
        )

    @property
    def port(self) -> int:
        """Where rank 0 listens, the same on all ranks and another one in each life."""
        found = os.environ.get(PORT)
        if found:
            return int(found)
        return _PORTS[zlib.crc32(f"{self.job_id}-{self.restart}".encode()) % len(_PORTS)]

    def ends_in_s(self, timeout_min: float) -> float:
        """Time left [s]; where nobody says when the limit comes, all of it from now."""
        return timeout_min * 60 if self.ends_s is None else self.ends_s - time.time()


def node_name() -> str:
    """This node, as SLURM calls it where SLURM started us."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def free_port() -> int:
    """A port that nobody listens on, on this host and at this moment.

    Raises:
        OSError: none was found among many.
    """
    # Not the process's generator, which a task may have seeded.
    for port in random.SystemRandom().sample(_PORTS, 100):
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return port
    raise OSError("no free port found for the ranks to meet")
