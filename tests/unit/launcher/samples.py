"""Records as they are on disk, for tests."""

from typing import Any

from launcher import files
from launcher.records import AttemptRecord, SubmissionRecord
from launcher.topology import Shape

SHAPE = Shape(
    nodes=1, gpus_per_node=0, ranks_per_node=1, cpus_per_rank=1, mem_gb=None, timeout_min=60
)


def submission(**changes: Any) -> SubmissionRecord:
    """The first sending of run `k`."""
    record = SubmissionRecord(
        key="k",
        name="x=1",
        number=1,
        scheduler="local",
        token="t",
        submitted=files.now(),
        shape=SHAPE,
        code="c0de",
        payload="payload.pkl",
        config="config.pkl",
    )
    return record.model_copy(update=changes)


def attempt(**changes: Any) -> AttemptRecord:
    """Its first life, which has not ended."""
    record = AttemptRecord(
        attempt="001-000", key="k", job_id="1", host="h", pid=1, world_size=1, started=files.now()
    )
    return record.model_copy(update=changes)
