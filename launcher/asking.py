"""Who has the jobs of a study."""

from __future__ import annotations

from launcher.scheduler.base import Scheduler
from launcher.scheduler.client import SlurmClient
from launcher.scheduler.slurm import SlurmScheduler
from launcher.studies import Study


def scheduler_of(study: Study) -> Scheduler | None:
    """The scheduler that has the study's jobs; None for one that ran in its own process."""
    record = study.record
    if record.scheduler == "slurm":
        client = SlurmClient(variables=record.environment)
        return SlurmScheduler(folder=study.path.absolute() / ".submitit", client=client)
    if record.scheduler == "local":
        from launcher.scheduler.local import LocalScheduler

        return LocalScheduler(folder=study.path.absolute() / ".submitit")
    return None
