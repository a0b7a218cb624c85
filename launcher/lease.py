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
_MISSED = 4
"""The same, in beats that were due and did not come."""
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
        ended = holder is None or has_ended(holder)
        # SLURM may not answer; or it has lost a node, and the node not its processes.
        is_free = holder is None or (
            ended is not False and not _is_beating(run_dir, holder.attempt)
        )
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
                if ended:
                    _call_off(run_dir, holder.attempt)
        time.sleep(POLL_S)


def end(
    run_dir: Path,
    attempt: str,
    *,
    waiting: Callable[[str], None],
    patience_s: float = PATIENCE_S,
) -> None:
    """Have the ranks leave of a life that SLURM has given up, and wait until they have.

    A node that SLURM has lost may not have lost its processes.

    Raises:
        TakenError: they live on.
        StoreError: the disk refuses.
    """
    if not _is_beating(run_dir, attempt):
        return
    waiting(f"attempt {attempt}, which SLURM has given up")
    _call_off(run_dir, attempt)
    until = time.monotonic() + patience_s
    while _is_beating(run_dir, attempt):
        if time.monotonic() > until:
            raise TakenError(
                f"attempt {attempt} of this run still lives, on a node that SLURM has lost",
                hint="end its processes there, then `launch retry`",
            )
        time.sleep(POLL_S)


def _call_off(run_dir: Path, attempt: str) -> None:
    """Tell the ranks of an attempt to leave, where they can still hear it."""
    said = "SLURM has given this attempt up, and the run goes on elsewhere"
    text = f"{said}; this rank leaves"
    call = beats.Alarm(rank=0, time=beats.now(), outcome=None, error=said, text=text, missing=[])
    beats.raise_alarm(run_dir, attempt, call)


def _is_beating(run_dir: Path, attempt: str) -> bool:
    """Whether a rank gave a sign of life just now, none of leaving, and after any verdict."""
    given = {r: b for r, b in beats.read(run_dir, attempt).items() if b.phase != beats.LEFT}
    if not given:
        return False  # a life that was ended before it took the run has not even a folder
    folder = beats.folder(run_dir, attempt)
    present_s = files.present_s(run_dir / "attempts")
    concluded_s = _concluded_s(run_dir, attempt)
    for rank, beat in given.items():
        try:
            beat_s = (folder / f"{rank}.json").stat().st_mtime
        except FileNotFoundError:
            continue
        silent_s = max(SILENT_S, _MISSED * beat.interval_s)
        if present_s - beat_s < silent_s and beat_s > concluded_s:
            return True
    return False


def _concluded_s(run_dir: Path, attempt: str) -> float:
    """When an attempt was concluded, on the file server's clock; long ago if nobody did."""
    try:
        return store.verdict_path(run_dir, attempt).stat().st_mtime
    except FileNotFoundError:
        return 0.0


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
