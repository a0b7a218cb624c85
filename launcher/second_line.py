"""The second line: what nobody in the job could conclude, or carry out, a login node does.

Called by `launch resume`, while it has the study.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from launcher import lease, store
from launcher.concluding import conclude
from launcher.records import RunEntry, SubmissionRecord, VerdictRecord
from launcher.states import RunStatus


def catch_up(
    entries: Iterable[RunEntry],
    found: Mapping[str, RunStatus],
) -> list[VerdictRecord]:
    """Conclude what nobody concluded; returns the verdicts that were given or carried out.

    Twice is as once: what is concluded and acted upon is not looked at again.

    Args:
        entries: Runs of a study.
        found: How they stand, by key.

    Raises:
        StoreError: a record is damaged, or the disk refuses.
    """
    done = []
    for entry in entries:
        status = found[entry.key]
        if not status.job_id or not (status.is_lost or status.is_queued):
            continue
        record = store.submission(entry.run_dir, entry.key)
        if record is None or record.scheduler != "slurm":
            continue
        attempt = _attempt_to_conclude(Path(entry.run_dir), record, status)
        if attempt is None:
            continue
        verdict = conclude(Path(entry.run_dir), attempt, by="launch")
        if verdict is not None:
            done.append(verdict)
    return done


def _attempt_to_conclude(run_dir: Path, sent: SubmissionRecord, status: RunStatus) -> str | None:
    """The attempt that nobody concludes any more, None where none is left alone."""
    known = store.verdicts(run_dir, sent.number)
    last = known[-1] if known else None
    if last is not None and last.acted is None:
        return last.attempt
    if not status.is_lost:
        return None  # its job is in the queue: who runs in it concludes
    lives = store.attempts(run_dir, sent.number, sent.key)
    held = lease.read(run_dir)
    begun = [life.attempt for life in lives]
    if held is not None and held.attempt.startswith(f"{sent.number:03d}-"):
        begun.append(held.attempt)
    latest = max(begun, default="")
    if last is None and not latest:
        # It never began. What it waits for may have failed, and SLURM then cancels it.
        return None if sent.after else f"{sent.number:03d}-000"
    if last is None or latest > last.attempt:
        return latest
    if last.action == "stop" or last.failure:
        return None
    # It was put back into the queue, and left it without a start: cancelled, most likely.
    return f"{sent.number:03d}-{int(last.attempt.partition('-')[2]) + 1:03d}"
