"""The last answer of a scheduler, kept for the time in which it does not answer.

`scheduler.json` is advisory: whoever asked last wrote it, and nothing is ever done on its word.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace

from launcher import files, store
from launcher.errors import StoreError
from launcher.records import Record, SubmissionRecord
from launcher.scheduler.base import JobStatus, Poller
from launcher.states import RunStatus
from launcher.studies import Study


class SchedulerRecord(Record):
    """`scheduler.json`: what the scheduler said of each job, by key of its run."""

    time: str
    jobs: dict[str, JobStatus]


@dataclass
class _Remembering:
    """Polls, and falls back to what was said last; `caveat` tells when it did."""

    poller: Poller
    study: Study
    caveat: str = ""

    def owns(self, sent: SubmissionRecord) -> bool:
        """Pass on."""
        return self.poller.owns(sent)

    def watch(self, key: str, job_id: str) -> None:
        """Pass on."""
        self.poller.watch(key, job_id)

    def poll(self) -> dict[str, JobStatus]:
        """What is true now, or was true when the scheduler last answered."""
        jobs = self.poller.poll()
        path = self.study.path / "scheduler.json"
        silent = next((s for s in jobs.values() if s.state == "unknown"), None)
        if silent is None:
            if jobs and os.access(self.study.path, os.W_OK):
                record = SchedulerRecord(time=files.now(), jobs=jobs)
                store.write_record(path, record, durable=False)
            return jobs
        try:
            last = store.find_record(path, SchedulerRecord)
        except StoreError as error:
            self.caveat = f"{silent.reason}; its earlier answer cannot be read: {error.message}"
            return jobs
        if last is None:
            self.caveat = f"{silent.reason}; there is no earlier answer to show"
            return jobs
        self.caveat = f"{silent.reason}; what it last said, at {last.time}, is marked `then`"
        return _merged(jobs, last.jobs)


def _merged(now: Mapping[str, JobStatus], then: Mapping[str, JobStatus]) -> dict[str, JobStatus]:
    return {
        key: replace(then[key], reason=f"then {then[key].reason}".strip())
        if status.state == "unknown" and key in then
        else status
        for key, status in now.items()
    }


def remembered_status(study: Study, poller: Poller | None) -> tuple[list[RunStatus], str]:
    """How the runs stand, and a caveat where the scheduler did not answer."""
    if poller is None:
        return study.status(), ""
    remembering = _Remembering(poller, study)
    return study.status(remembering), remembering.caveat
