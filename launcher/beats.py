"""Signs of life on disk: `attempts/<id>.beats/<rank>.json`, each rewritten by its own rank.

Beside them lies one `alarm`, once a rank has found out that the attempt cannot go on, and in
`attempts/<id>.stacks/` where each rank was at that moment.
"""

from __future__ import annotations

import contextlib
import os
import re
from datetime import UTC, datetime
from pathlib import Path

from launcher import files, store
from launcher.errors import StoreError
from launcher.records import Outcome, Record

LEFT = "left"
"""Phase of a rank that reached its end, whatever the end was."""
REACHED = "can be reached"
"""Ends `Beat.connection` where rank 0 answered."""
_BEAT = re.compile(r"\d+\.json")
_STACKS = re.compile(r"\d+\.txt")
_FUSED = b"Timeout ("
"""Begins what faulthandler's timer writes; other stacks begin with a title of ours."""


class Beat(Record):
    """The last sign of life of a rank."""

    rank: int
    host: str
    """Node, as SLURM calls it."""
    pid: int
    time: str
    phase: str
    since: str
    """When it entered that phase."""
    interval_s: float = 5.0
    """When the next beat is due [s]; ranks of a large job beat more slowly."""
    step: int | None = None
    at: str = ""
    """Function that its main thread is in."""
    busy: float = 1.0
    """In which share of the looks since its last mark the main thread was elsewhere."""
    connection: str | None = None
    """What came of calling rank 0, late in a rendezvous, e.g. `gl001:23456 does not answer`."""
    oom_kills: int | None = None
    """Processes of the job on this node that the kernel killed; written by one rank of a node."""
    signal: str | None = None
    """Request to stop that reached it."""


class Alarm(Record):
    """Why an attempt cannot go on, as the rank saw it that noticed first."""

    rank: int
    time: str
    outcome: Outcome | None
    error: str
    """One line, for the record."""
    text: str
    """All of it, for the log."""
    missing: list[str]
    """Ranks that did not join, or fell behind, e.g. `rank 3 on gl002`."""


def now() -> str:
    """The present in ISO 8601, UTC; finer than in records, because beats may come often."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def folder(run_dir: Path, attempt: str) -> Path:
    """Folder of the beats of an attempt."""
    return run_dir / "attempts" / f"{attempt}.beats"


def stacks_path(run_dir: Path, attempt: str, rank: int) -> Path:
    """File with the stacks of a rank that was ended because it did not go on."""
    return run_dir / "attempts" / f"{attempt}.stacks" / f"{rank}.txt"


def write(run_dir: Path, attempt: str, beat: Beat) -> None:
    """Write a beat.

    Raises:
        StoreError: the disk refuses.
    """
    path = folder(run_dir, attempt) / f"{beat.rank}.json"
    files.write_bytes(path, beat.model_dump_json().encode() + b"\n", durable=False)


def read(run_dir: Path, attempt: str) -> dict[int, Beat]:
    """The last beat of each rank that ever gave one; a damaged one counts as none."""
    found: dict[int, Beat] = {}
    for name in _names(folder(run_dir, attempt)):
        if _BEAT.fullmatch(name):
            # Whoever reads beats looks for ranks in trouble; one more sign of it is no reason
            # to end with an error.
            with contextlib.suppress(StoreError):
                beat = store.read_record(folder(run_dir, attempt) / name, Beat)
                found[beat.rank] = beat
    return found


def ranks(run_dir: Path, attempt: str) -> set[int]:
    """Ranks that ever gave a sign of life."""
    names = _names(folder(run_dir, attempt))
    return {int(name.removesuffix(".json")) for name in names if _BEAT.fullmatch(name)}


def raise_alarm(run_dir: Path, attempt: str, alarm: Alarm) -> Alarm:
    """Make an alarm known to all ranks; returns the first one, which may be another rank's.

    Raises:
        StoreError: the disk refuses.
    """
    path = folder(run_dir, attempt) / "alarm"
    with files.storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except FileExistsError:
            return find_alarm(run_dir, attempt) or alarm
        with open(handle, "wb") as file:
            file.write(alarm.model_dump_json().encode() + b"\n")
    return alarm


def find_alarm(run_dir: Path, attempt: str) -> Alarm | None:
    """The alarm of an attempt, or None while there is none, or not all of it yet."""
    try:
        return store.find_record(folder(run_dir, attempt) / "alarm", Alarm)
    except StoreError:
        return None


def fused(run_dir: Path, attempt: str) -> list[int]:
    """Ranks that hung while a call kept Python locked: only their stacks say so, no record."""
    path = stacks_path(run_dir, attempt, 0).parent
    names = [name for name in _names(path) if _STACKS.fullmatch(name)]
    return sorted(int(name.removesuffix(".txt")) for name in names if _is_fused(path / name))


def _is_fused(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_FUSED)) == _FUSED
    except OSError:
        return False


def _names(path: Path) -> list[str]:
    try:
        return os.listdir(path)  # noqa: PTH208 - names are all that is wanted
    except OSError:
        return []
