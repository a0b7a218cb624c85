"""Which attempt of a run has its folder: `attempts/.lease.<n>`, the last of them counts.

Two must never live at once. The batch script takes it before any rank starts. Whether an earlier
holder still lives, its verdict, SLURM and its signs of life say; its file is never touched again.
Who takes over from number n links number n+1 into place, which only one can.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from launcher import beats, files, store
from launcher.errors import StoreError
from launcher.records import Record

SILENT_S = 20.0
"""An attempt whose ranks gave no sign of life for so long has ended, whatever else says."""
PATIENCE_S = 120.0
"""How long to wait for an earlier attempt to end [s]."""
POLL_S = 1.0


class Lease(Record):
    """Who has the folder of a run."""

    attempt: str
    job_id: str
    time: str
    nodes: tuple[str, ...] = ()
    log: str = ""
    """File that its batch script writes to."""


class TakenError(StoreError):
    """Another attempt of the run lives."""


def read(run_dir: Path) -> Lease | None:
    """The lease of the latest attempt, None where none ever started or the file is damaged."""
    return _latest(run_dir)[1]


def take(
    run_dir: Path,
    lease: Lease,
    *,
    has_ended: Callable[[Lease], bool | None],
    waiting: Callable[[str], None],
    patience_s: float = PATIENCE_S,
) -> None:
    """Take the lease; waits for an attempt that is still ending.

    Args:
        run_dir: Folder of the run.
        lease: Of the attempt that is about to start.
        has_ended: Whether SLURM says that the job life of another lease is over, None if it
            does not say.
        waiting: Told once who is waited for.
        patience_s: How long to wait at most.

    Raises:
        TakenError: another attempt lives on, or another job is this very attempt.
        StoreError: the disk refuses.
    """
    until = time.monotonic() + patience_s
    is_told = False
    while True:
        number, holder = _latest(run_dir)
        if holder is not None and holder.attempt == lease.attempt:
            if holder.job_id == lease.job_id:
                return  # this very life has it
            raise TakenError(
                f"attempt {lease.attempt} of this run is job {holder.job_id}, not {lease.job_id}",
                hint="was its script given to sbatch once more? `launch retry` sends a run again",
            )
        is_free = holder is None or not _lives(run_dir, holder, has_ended)
        if is_free and _link(run_dir, number + 1, lease):
            return
        if holder is not None and not is_free:
            if time.monotonic() > until:
                raise TakenError(
                    f"attempt {holder.attempt} of this run (job {holder.job_id}) still lives",
                    hint="cancel one of the two jobs",
                )
            if not is_told:
                is_told = True
                waiting(f"attempt {holder.attempt} (job {holder.job_id})")
        time.sleep(POLL_S)


def _lives(run_dir: Path, holder: Lease, has_ended: Callable[[Lease], bool | None]) -> bool:
    """Whether an attempt may still write into the folder of its run."""
    if has_ended(holder) is False:
        return True
    # SLURM may not answer; or it has lost a node, and the node not its processes.
    return store.verdict(run_dir, holder.attempt) is None and _is_beating(run_dir, holder.attempt)


def _is_beating(run_dir: Path, attempt: str) -> bool:
    """Whether a rank gave a sign of life just now, and none of leaving."""
    folder = beats.folder(run_dir, attempt)
    present_s = _present_s(run_dir)
    for rank, beat in beats.read(run_dir, attempt).items():
        if beat.phase == beats.LEFT:
            continue
        try:
            age_s = present_s - (folder / f"{rank}.json").stat().st_mtime
        except FileNotFoundError:
            continue
        if age_s < SILENT_S:
            return True
    return False


def _present_s(run_dir: Path) -> float:
    """The file server's clock, which the times of all files follow."""
    probe = run_dir / "attempts" / f".now.{os.getpid()}.{os.urandom(4).hex()}"
    with files.storing(probe):
        probe.touch()
        try:
            return probe.stat().st_mtime
        finally:
            probe.unlink(missing_ok=True)


def _link(run_dir: Path, number: int, lease: Lease) -> bool:
    """Put a lease in place as the next one; False if somebody else was faster."""
    mine = run_dir / "attempts" / f".taking.{os.urandom(6).hex()}"
    path = _path(run_dir, number)
    store.write_record(mine, lease)
    try:
        os.link(mine, path)
    except FileExistsError:
        return False
    finally:
        mine.unlink(missing_ok=True)
    latest = max(_numbers(run_dir))
    if latest > number:  # this number was given up long ago, by the holder of a later one
        path.unlink(missing_ok=True)
        return False
    for old in _numbers(run_dir):
        if old < number:
            _path(run_dir, old).unlink(missing_ok=True)
    return True


def _latest(run_dir: Path) -> tuple[int, Lease | None]:
    number = max(_numbers(run_dir), default=0)
    try:
        return number, store.find_record(_path(run_dir, number), Lease)
    except StoreError:
        return number, None


def _numbers(run_dir: Path) -> list[int]:
    found = (path.name.rpartition(".")[2] for path in (run_dir / "attempts").glob(".lease.*"))
    return [int(number) for number in found if number.isdigit()]


def _path(run_dir: Path, number: int) -> Path:
    return run_dir / "attempts" / f".lease.{number:06d}"
