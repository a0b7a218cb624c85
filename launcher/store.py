"""Run folders and records on disk. The folder is the truth; every write is atomic.

<study>/study.json               declared runs
<study>/code/<sha>/              code snapshot, content-addressed
<study>/payload/<sha>.pkl        pickled task
<study>/batches/<token>.json     runs that are sent as one array, and the job ids
<study>/<run>/                   one run:
    submissions/<number>/        one sending: submission.json, config.yaml, config.pkl
    attempts/<id>.json           one file per life of the run
    cancelled.json               a sending that somebody cancelled
    progress.json                last step and metrics, rewritten while it runs
"""

from __future__ import annotations

import json
import os
import pickle
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from launcher.errors import StoreError
from launcher.records import (
    SCHEMA_VERSION,
    AttemptRecord,
    BatchRecord,
    CancelRecord,
    Record,
    StudyRecord,
    SubmissionRecord,
)

R = TypeVar("R", bound=Record)

OUTPUTS = Path("outputs")
"""Where studies are looked for, seen from the current folder."""


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


def write_bytes(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a file beside its place and rename it there, so no reader sees half of it.

    With `durable=False` it survives the end of this process, not a power cut of the machine:
    enough for what the same command can write again.
    """
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
        try:
            with open(temporary, "xb") as file:
                file.write(content)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def write_json(path: Path, value: Any) -> None:
    """Write plain values as readable JSON, atomically."""
    write_bytes(path, (json.dumps(value, indent=2) + "\n").encode())


def write_record(path: Path, record: Record, *, durable: bool = True) -> None:
    """Write a record, atomically."""
    write_bytes(path, (record.model_dump_json(indent=2) + "\n").encode(), durable=durable)


def read_record(path: Path | str, kind: type[R]) -> R:
    """Read a record.

    Raises:
        StoreError: the file is missing, damaged, or of a newer version.
    """
    record = find_record(path, kind)
    if record is None:
        raise StoreError(f"`{path}` does not exist")
    return record


def find_record(path: Path | str, kind: type[R]) -> R | None:
    """Read a record, or None if there is no such file.

    Raises:
        StoreError: the file is damaged, or of a newer version.
    """
    try:
        with open(path, "rb") as file:
            content = file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        record = kind.model_validate_json(content)
    except ValidationError as error:
        _refuse_newer(path, content)
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise StoreError(
            f"`{path}` is damaged: {where + ': ' if where else ''}{first['msg']}",
            hint="restore the file, or delete it and issue the command again",
        ) from error
    if record.schema_version > SCHEMA_VERSION:
        _refuse_newer(path, content)
    return record


def _refuse_newer(path: Path | str, content: bytes) -> None:
    """A newer version may have changed the fields, so it is looked for before they are judged."""
    try:
        version = json.loads(content)["schema_version"]
    except (ValueError, LookupError, TypeError):
        return
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise StoreError(
            f"`{path}` has version {version}, this program reads {SCHEMA_VERSION}",
            hint="use the newer version of the launcher that wrote it",
        )


def prepare_study(study_dir: Path) -> None:
    """Make the study folder and try a write.

    A new folder becomes 0700: configs and logs are the user's own. One that holds more than
    Hydra and our lock just wrote was somebody's before, and keeps its mode.
    """
    with storing(study_dir):
        study_dir.mkdir(parents=True, exist_ok=True)
        if {path.name for path in study_dir.iterdir()} <= {"multirun.yaml", ".lock", ".lease"}:
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


def submission_dir(run_dir: Path, number: int) -> Path:
    """Folder of one sending of a run."""
    return run_dir / "submissions" / f"{number:03d}"


def submission_numbers(run_dir: Path | str) -> list[int]:
    """Numbers of the sendings of a run, oldest first."""
    return sorted(int(name) for name in _names(f"{run_dir}/submissions") if name.isdigit())


def submission(run_dir: Path | str, key: str | None = None) -> SubmissionRecord | None:
    """The latest sending of a run, or None if it was never frozen.

    With `key`, one of another run in the same folder does not count: Hydra's own folders are
    numbered, and may be used again.
    """
    for number in reversed(submission_numbers(run_dir)):
        found = find_record(f"{run_dir}/submissions/{number:03d}/submission.json", SubmissionRecord)
        if found is not None:
            return found if key is None or found.key == key else None
    return None


def submissions(run_dir: Path | str) -> list[SubmissionRecord]:
    """All sendings of a run, oldest first."""
    found = [
        find_record(f"{run_dir}/submissions/{number:03d}/submission.json", SubmissionRecord)
        for number in submission_numbers(run_dir)
    ]
    return [record for record in found if record is not None]


def write_submission(run_dir: Path, record: SubmissionRecord) -> None:
    """Write one sending of a run."""
    path = submission_dir(run_dir, record.number) / "submission.json"
    write_record(path, record, durable=False)


def batch_path(study_dir: Path, token: str) -> Path:
    """File of a batch."""
    return study_dir / "batches" / f"{token}.json"


def batch(path: str | Path) -> BatchRecord | None:
    """A batch, or None if it was never written or its study is gone."""
    return find_record(path, BatchRecord)


def cancelled(run_dir: Path | str) -> CancelRecord | None:
    """The cancelling of a run, if somebody cancelled it."""
    return find_record(f"{run_dir}/cancelled.json", CancelRecord)


def attempt_path(run_dir: Path, attempt: str, rank: int = 0) -> Path:
    """File of an attempt's record; ranks above 0 have one only if they failed."""
    return run_dir / "attempts" / (f"{attempt}.rank{rank}.json" if rank else f"{attempt}.json")


def returned_path(run_dir: Path, attempt: str) -> Path:
    """Pickle of the JobReturn of an attempt that completed."""
    return run_dir / "attempts" / f"{attempt}.returned.pkl"


def returned(run_dir: Path) -> Any:
    """JobReturn of the latest attempt that completed, or None if it could not be kept."""
    names = sorted(n for n in _names(f"{run_dir}/attempts") if n.endswith(".returned.pkl"))
    return pickle.loads((run_dir / "attempts" / names[-1]).read_bytes()) if names else None


def attempts(run_dir: Path | str, number: int | None = None) -> list[AttemptRecord]:
    """Attempts of a run, oldest first; with `number` only those of that submission.

    A failure that only a rank above 0 could still write stands in for rank 0's silence.
    """
    prefix = "" if number is None else f"{number:03d}-"
    records: dict[str, AttemptRecord] = {}
    for name in sorted(_names(f"{run_dir}/attempts")):
        if name.startswith(prefix) and name.endswith(".json") and not name.startswith("."):
            record = read_record(f"{run_dir}/attempts/{name}", AttemptRecord)
            known = records.get(record.attempt)
            if known is None or known.outcome is None:
                records[record.attempt] = record
    return list(records.values())


def progress(run_dir: Path | str) -> dict[str, Any]:
    """Last step and metrics that the run itself wrote; empty before the first.

    Raises:
        StoreError: the file is damaged.
    """
    path = f"{run_dir}/progress.json"
    try:
        with open(path, "rb") as file:
            value = json.load(file)
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise StoreError(
            f"`{path}` is damaged: {error}", hint="delete it, the run writes it anew"
        ) from error
    return value if isinstance(value, dict) else {}


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - a Path for each file of 10,000 runs is slow
    except (FileNotFoundError, NotADirectoryError):
        return []


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
    alike = [folder for folder in known if folder.name.startswith(name)]
    if len(alike) == 1:
        return alike[0]
    if alike:
        raise StoreError(
            f"`{name}` is ambiguous", hint=f"studies: {', '.join(f.name for f in alike)}"
        )
    raise StoreError(
        f"no study `{name}` in `{root}`",
        hint="known: " + ", ".join(folder.name for folder in known[-5:]),
    )


def study_word(folder: Path) -> str:
    """The shortest word by which `find_study` finds a study from here with its usual root."""
    here = Path.cwd()
    if folder.parent == here / OUTPUTS:
        return folder.name
    return str(folder.relative_to(here) if folder.is_relative_to(here) else folder)


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
