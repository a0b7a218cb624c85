"""Run folders and records on disk. The folder is the truth; every write is atomic.

<study>/study.json              declared runs
<study>/code/<sha>/             code snapshot, content-addressed
<study>/payload/<sha>.pkl       pickled task
<study>/<run key>/              one run:
    config.yaml, config.pkl     frozen config, for people and for the job
    submission.json             latest sending to a scheduler
    attempts/<id>.json          one file per life of the run
    progress.json               last step and metrics, rewritten while it runs
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from launcher.errors import StoreError
from launcher.records import SCHEMA_VERSION, AttemptRecord, Record, StudyRecord, SubmissionRecord

R = TypeVar("R", bound=Record)


def now() -> str:
    """The present in ISO 8601, UTC, whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def seconds_since(stamp: str) -> float:
    """Seconds from an ISO 8601 stamp until now."""
    return (datetime.now(UTC) - datetime.fromisoformat(stamp)).total_seconds()


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn what a disk can answer (read-only, full, quota) into one message about `path`."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"cannot write `{path}`: {error.strerror or error}",
            hint="choose another output folder (paths.output_dir=...), or free space there",
        ) from error


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file beside its place and rename it there, so no reader sees half of it."""
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def write_json(path: Path, value: Any) -> None:
    """Write plain values as readable JSON, atomically."""
    write_bytes(path, (json.dumps(value, indent=2) + "\n").encode())


def write_record(path: Path, record: Record) -> None:
    """Write a record, atomically."""
    write_bytes(path, (record.model_dump_json(indent=2) + "\n").encode())


def read_record(path: Path, kind: type[R]) -> R:
    """Read a record.

    Raises:
        StoreError: the file is missing, damaged, or of a newer version.
    """
    try:
        record = kind.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise StoreError(f"`{path}` does not exist") from error
    except ValidationError as error:
        raise StoreError(
            f"`{path}` is damaged: {error.errors()[0]['msg']}",
            hint="restore the file, or delete it and issue the command again",
        ) from error
    if record.schema_version > SCHEMA_VERSION:
        raise StoreError(
            f"`{path}` has version {record.schema_version}, this program reads {SCHEMA_VERSION}",
            hint="use the newer version of the launcher that wrote it",
        )
    return record


def prepare_study(study_dir: Path) -> None:
    """Make the study folder and try a write.

    A new folder becomes 0700: configs and logs are the user's own. One that holds more than
    Hydra just wrote was somebody's before, and keeps its mode.
    """
    with storing(study_dir):
        study_dir.mkdir(parents=True, exist_ok=True)
        if {path.name for path in study_dir.iterdir()} <= {"multirun.yaml"}:
            study_dir.chmod(0o700)
        with tempfile.TemporaryFile(dir=study_dir) as probe:
            probe.write(b"\0" * 4096)
            probe.flush()


def make_private(folder: Path) -> None:
    """Make a folder that only the user can read; one that exists keeps its mode."""
    with storing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)


def read_study(study_dir: Path) -> StudyRecord:
    """The study that lives in a folder."""
    return read_record(study_dir / "study.json", StudyRecord)


def submission(run_dir: Path) -> SubmissionRecord | None:
    """The latest submission of a run, or None if it was never sent."""
    path = run_dir / "submission.json"
    return read_record(path, SubmissionRecord) if path.exists() else None


def attempt_path(run_dir: Path, attempt: str, rank: int = 0) -> Path:
    """File of an attempt's record; ranks above 0 have one only if they failed."""
    return run_dir / "attempts" / (f"{attempt}.rank{rank}.json" if rank else f"{attempt}.json")


def attempts(run_dir: Path, number: int | None = None) -> list[AttemptRecord]:
    """Attempts of a run, oldest first; with `number` only those of that submission.

    A failure that only a rank above 0 could still write stands in for rank 0's silence.
    """
    pattern = "*.json" if number is None else f"{number:03d}-*.json"
    records: dict[str, AttemptRecord] = {}
    for path in sorted((run_dir / "attempts").glob(pattern), key=lambda path: path.name):
        record = read_record(path, AttemptRecord)
        known = records.get(record.attempt)
        if known is None or known.outcome is None:
            records[record.attempt] = record
    return list(records.values())


def progress(run_dir: Path) -> dict[str, Any]:
    """Last step and metrics that the run itself wrote; empty before the first."""
    path = run_dir / "progress.json"
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    return value if isinstance(value, dict) else {}


def find_study(name: str | None, root: Path) -> Path:
    """Folder of a study by path or name below `root`; without a name the one changed last.

    Raises:
        StoreError: there is none, or no study has that name.
    """
    if name is not None and (Path(name) / "study.json").exists():
        return Path(name)
    known = known_studies(root)
    if name is None:
        return known[-1]
    for folder in known:
        if folder.name == name:
            return folder
    raise StoreError(
        f"no study `{name}` in `{root}`",
        hint="known: " + ", ".join(folder.name for folder in known[-5:]),
    )


def known_studies(root: Path) -> list[Path]:
    """Folders of the studies below `root`, the one that changed last at the end.

    Raises:
        StoreError: there is none.
    """
    records = sorted(root.glob("*/study.json"), key=lambda path: path.stat().st_mtime)
    if not records:
        raise StoreError(
            f"no study in `{root}`", hint="name its folder, or start one with train.py -m ..."
        )
    return [path.parent for path in records]
