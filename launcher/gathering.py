"""Evidence of how an attempt ended: from its folder, its logs, SLURM and SLURM's accounts.

Any source may be missing; one that does not answer is named in the evidence.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from datetime import datetime
from pathlib import Path

from launcher import beats, lease, store
from launcher.errors import SubmissionError
from launcher.memory import oom_kills
from launcher.outcomes import Evidence
from launcher.records import AttemptRecord, SubmissionRecord
from launcher.scheduler.control import Control, JobControl

MARK = "launcher: attempt"
"""Begins the line with which the batch script separates the lives in its log."""
_LOG_TAIL = 256 * 1024


def from_files(run_dir: Path, sent: SubmissionRecord, attempt: str) -> Evidence:
    """What the folder of the run says, and the kernel, where the attempt ran on this node.

    Raises:
        StoreError: a record is damaged.
    """
    record, others = _records(run_dir, attempt)
    marker = store.cancelled(run_dir)
    held = lease.read(run_dir)
    own = held if held is not None and held.attempt == attempt else None
    began = own.time if own is not None else record.started if record is not None else None
    is_inside = own is not None and _is_inside(own)
    return Evidence(
        attempt=attempt,
        world_size=sent.shape.world_size,
        started_s=datetime.fromisoformat(began).timestamp() if began else None,
        limit_min=sent.shape.timeout_min,
        lead_s=float(sent.parameters.get("signal_delay_s", 0.0)),
        cancelled=marker if marker and marker.number == sent.number else None,
        record=record,
        others=others,
        is_inside=is_inside,
        oom_kills=oom_kills() if is_inside else 0,
        beats=beats.read(run_dir, attempt),
        alarm=beats.find_alarm(run_dir, attempt),
        fused=beats.fused(run_dir, attempt),
        nodes=own.nodes if own is not None else (),
    )


def _is_inside(own: lease.Lease) -> bool:
    """Whether this process is part of that life, so that its cgroup counts."""
    restart = os.environ.get("SLURM_RESTART_COUNT", "0")
    ids = (os.environ.get("SLURM_JOB_ID"), os.environ.get("SLURM_ARRAY_JOB_ID"))
    is_job = own.job_id.partition("_")[0] in ids
    return is_job and int(own.attempt.partition("-")[2]) == int(restart)


def from_scheduler(evidence: Evidence, control: Control, job_id: str) -> Evidence:
    """What whoever has the job says of it."""
    try:
        facts = control.facts()
    except SubmissionError as error:
        return _silence(evidence, error)
    if facts is None:
        said = f"scontrol: job {job_id} is gone"
        return dataclasses.replace(evidence, silent=[*evidence.silent, said])
    own = facts.nodes if facts.restarts == evidence.restart else ()
    return dataclasses.replace(evidence, job=facts, nodes=evidence.nodes or own)


def from_log(evidence: Evidence, run_dir: Path) -> Evidence:
    """What was written to the logs of the batch script and of its ranks in this life."""
    held = lease.read(run_dir)
    path = held.log if held is not None else ""
    path = path or (evidence.job.stdout if evidence.job is not None else "")
    if not path:
        return evidence
    lives = [_life(file, evidence.attempt) for file in rank_logs(Path(path), evidence.world_size)]
    return dataclasses.replace(evidence, log="\n".join(filter(None, lives)))


def from_accounts(evidence: Evidence, control: JobControl) -> Evidence:
    """What the accounts say, and which nodes SLURM has lost."""
    try:
        account = control.account(evidence.started_s, evidence.restart)
    except SubmissionError as error:
        evidence = _silence(evidence, error)
    else:
        known = account.nodes if account is not None else ()
        evidence = dataclasses.replace(evidence, account=account, nodes=evidence.nodes or known)
    with contextlib.suppress(SubmissionError):  # then which nodes are lost is unknown
        lost = control.lost_nodes(evidence.nodes) if evidence.nodes else ()
        evidence = dataclasses.replace(evidence, away=tuple(lost))
    return evidence


def job_id(run_dir: Path, attempt: str, sent: SubmissionRecord) -> str:
    """Job of an attempt: as it said itself, else as it was sent."""
    held = lease.read(run_dir)
    if held is not None and held.attempt == attempt:
        return held.job_id
    record, others = _records(run_dir, attempt)
    for known in (record, *others.values()):
        if known is not None:
            return known.job_id
    if sent.batch is None:
        return sent.job_id or ""
    batch = store.batch(sent.batch)
    return (batch.job_id(sent.index) if batch is not None else None) or ""


def _records(run_dir: Path, attempt: str) -> tuple[AttemptRecord | None, dict[int, AttemptRecord]]:
    """Record of rank 0, and those of other ranks that have ended."""
    own = store.find_record(store.attempt_path(run_dir, attempt), AttemptRecord)
    others = {}
    for path in (run_dir / "attempts").glob(f"{attempt}.rank*.json"):
        rank = int(path.name.removesuffix(".json").rpartition("rank")[2])
        others[rank] = store.read_record(path, AttemptRecord)
    return own, others


def _silence(evidence: Evidence, error: SubmissionError) -> Evidence:
    said = f"unknown, because it did not answer: {error.message}"
    return dataclasses.replace(evidence, silent=[*evidence.silent, said])


def rank_logs(path: Path, world_size: int) -> list[Path]:
    """Logs of all ranks, from that of the batch script, which is rank 0's as well."""
    found = [path]
    if "_0_log." in path.name:
        before, _, after = path.name.rpartition("_0_log.")
        found += [path.with_name(f"{before}_{rank}_log.{after}") for rank in range(1, world_size)]
    return found


def mark(path: Path, attempt: str, world_size: int, text: str) -> None:
    """Write the line that begins a life into its logs, those of other ranks if they are there."""
    for file in rank_logs(path, world_size)[1:]:
        if file.exists():
            with open(file, "ab") as log:
                log.write(f"{MARK} {attempt}{text}\n".encode())


def _life(path: Path, attempt: str) -> str:
    """What the end of a log says of one life."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - _LOG_TAIL))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""  # this source is missing, others remain
    parts = re.split(rf"^{re.escape(MARK)} (\S+?)(?=[,\s]).*$", text, flags=re.MULTILINE)
    named = dict(zip(parts[1::2], parts[2::2], strict=True))
    # A log of another rank has no mark for the first life, and a long life may have lost its own.
    is_before = not named or attempt < parts[1]
    # SLURM may have spoken before the first life made its mark; of a later one that is unknown.
    is_first = bool(named) and attempt == parts[1] and attempt.endswith("-000")
    return (parts[0] if is_before or is_first else "") + named.get(attempt, "")


def newest_checkpoint(run_dir: Path) -> tuple[str, int | None]:
    """Name and step of the newest resume checkpoint that was finished."""
    found = sorted(
        f"{path.parent.name}/{path.stem}"
        for path in run_dir.glob("checkpoints/resume/fit-*/step-*.json")
    )
    if not found:
        return "", None
    step = re.search(r"step-(\d+)$", found[-1])
    return found[-1], int(step.group(1)) if step else None
