"""Run folders and records on disk. The folder is the truth; every write is atomic.

<study>/study.json               declared runs
<study>/code/<sha>/              code snapshot, content-addressed
<study>/payload/<sha>.pkl        pickled task
<study>/batches/<token>.json     runs that are sent as one array, and the job ids
<study>/<run>/                   one run:
    submissions/<number>/        one sending: submission.json, config.yaml, config.pkl
    attempts/<id>.json           one file per life of the run
    attempts/<id>.verdict.json   why that life ended, and what was done
    attempts/<id>.beats/         signs of life of its ranks
    attempts/<id>.use/           what its ranks took
    checkpoints/resume/          what the next life goes on from
    cancelled.json               a sending that somebody cancelled
    progress.json                last step and metrics, rewritten while it runs
"""

from __future__ import annotations

import json
import os
import pickle
import re
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from launcher import files
from launcher.errors import StoreError
from launcher.records import (
    SCHEMA_VERSION,
    Adjustments,
    AttemptRecord,
    BatchRecord,
    CancelRecord,
    Record,
    StudyRecord,
    SubmissionRecord,
    VerdictRecord,
)

R = TypeVar("R", bound=Record)
_ATTEMPT = re.compile(r"\d+-\d+(\.rank\d+)?\.json")


def write_record(path: Path, record: Record, *, durable: bool = True) -> None:
    """Write a record, atomically."""
    files.write_bytes(path, (record.model_dump_json(indent=2) + "\n").encode(), durable=durable)


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
    except OSError as error:
        raise StoreError(f"cannot read `{path}`: {error.strerror or error}") from error
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


def read_study(study_dir: Path) -> StudyRecord:
    """The study that lives in a folder."""
    return read_record(study_dir / "study.json", StudyRecord)


def submission_dir(run_dir: Path, number: int) -> Path:
    """Folder of one sending of a run."""
    return run_dir / "submissions" / f"{number:03d}"


def config_file(run_dir: Path | str, number: int | None = None) -> Path | None:
    """Config of a sending, the latest by default, as a person reads it; None if never frozen.

    A run that `launch retry` or a recovery sends again has the config of the sending before.
    """
    for earlier in reversed(submission_numbers(run_dir)):
        path = submission_dir(Path(run_dir), earlier) / "config.yaml"
        if (number is None or earlier <= number) and path.is_file():
            return path
    return None


def submission_numbers(run_dir: Path | str) -> list[int]:
    """Numbers of the sendings of a run, oldest first."""
    return sorted(int(name) for name in _names(f"{run_dir}/submissions") if name.isdigit())


def submission(run_dir: Path | str, key: str | None = None) -> SubmissionRecord | None:
    """The latest sending of a run, or None if it was never frozen.

    With `key`, one of another run in the same folder does not count: Hydra's own folders are
    numbered, and may be used again.
    """
    for number in reversed(submission_numbers(run_dir)):
        found = sending(run_dir, number)
        if found is not None:
            return found if key is None or found.key == key else None
    return None


def sending(run_dir: Path | str, number: int) -> SubmissionRecord | None:
    """One sending of a run, with absolute files, wherever the study lies now."""
    path = f"{run_dir}/submissions/{number:03d}/submission.json"
    record = find_record(path, SubmissionRecord)
    if record is None:
        return None
    record = _where_it_lies(record, os.path.abspath(run_dir))  # noqa: PTH100 - 10,000 times
    if record.batch is None:
        return record
    path = os.path.normpath(os.path.join(run_dir, record.batch))  # noqa: PTH118 - 10,000 times
    return record.model_copy(update={"batch": path})


def _where_it_lies(record: SubmissionRecord, run_dir: str) -> SubmissionRecord:
    """The record with the paths that its study has now; they were written where it was sent."""
    if record.config.startswith(f"{run_dir}/"):
        return record
    then = str(Path(record.config).parent.parent.parent)
    study = str(Path(record.payload).parent.parent) if record.payload else then
    # A run that others require lies outside of the study that sent it, and did not move with it.
    root = study if _is_in(then, study) else then

    def moved(path: str) -> str:
        if not _is_in(path, root):
            return path
        return os.path.normpath(f"{run_dir}/{os.path.relpath(path, then)}")

    return record.model_copy(
        update={
            "config": moved(record.config),
            "payload": moved(record.payload),
            "python_path": [moved(path) for path in record.python_path],
            "inputs": {label: moved(path) for label, path in record.inputs.items()},
        }
    )


def _is_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


def submissions(run_dir: Path | str) -> list[SubmissionRecord]:
    """All sendings of a run, oldest first."""
    found = [sending(run_dir, number) for number in submission_numbers(run_dir)]
    return [record for record in found if record is not None]


def write_submission(run_dir: Path, record: SubmissionRecord) -> None:
    """Write one sending of a run; the file of its batch relative to the run's folder."""
    if record.batch is not None:
        record = record.model_copy(update={"batch": os.path.relpath(record.batch, run_dir)})
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


def verdict_path(run_dir: Path | str, attempt: str) -> Path:
    """File of the verdict on an attempt."""
    return Path(run_dir) / "attempts" / f"{attempt}.verdict.json"


def verdict(run_dir: Path | str, attempt: str) -> VerdictRecord | None:
    """The verdict on an attempt, or None while nobody concluded it."""
    return find_record(verdict_path(run_dir, attempt), VerdictRecord)


def verdicts(run_dir: Path | str, number: int | None = None) -> list[VerdictRecord]:
    """Verdicts on the attempts of a run, oldest first; with `number` only of that sending."""
    prefix = "" if number is None else f"{number:03d}-"
    names = [n for n in _names(f"{run_dir}/attempts") if n.endswith(".verdict.json")]
    return [
        read_record(f"{run_dir}/attempts/{name}", VerdictRecord)
        for name in sorted(names)
        if name.startswith(prefix) and not name.startswith(".")
    ]


def adjustments(run_dir: Path | str, sent: SubmissionRecord) -> Adjustments:
    """What the next attempt of a sending changes, because of how the earlier ones ended."""
    concluded = verdicts(run_dir, sent.number)
    return concluded[-1].adjustments if concluded else sent.adjustments


def returned_path(run_dir: Path, attempt: str) -> Path:
    """Pickle of the JobReturn of an attempt that completed."""
    return run_dir / "attempts" / f"{attempt}.returned.pkl"


def returned(run_dir: Path, key: str) -> Any:
    """JobReturn of the latest attempt of a run, or None if it could not be kept."""
    lives = attempts(run_dir, key=key)
    path = returned_path(run_dir, lives[-1].attempt) if lives else None
    return pickle.loads(path.read_bytes()) if path is not None and path.exists() else None


def attempts(
    run_dir: Path | str, number: int | None = None, key: str | None = None
) -> list[AttemptRecord]:
    """Attempts of a run, oldest first; with `number` only those of that submission.

    With `key`, those of another run do not count: somebody copied them here.

    A failure that only a rank above 0 wrote stands in for rank 0's silence, or its success.
    """
    return _attempts(run_dir, "" if number is None else f"{number:03d}-", key)


def attempt(run_dir: Path | str, name: str) -> AttemptRecord | None:
    """One attempt of a run, without a look at the others; None if it left no record.

    Raises:
        StoreError: a record of it is damaged.
    """
    return next(iter(_attempts(run_dir, f"{name}.", None)), None)


def _attempts(run_dir: Path | str, prefix: str, key: str | None) -> list[AttemptRecord]:
    records: dict[str, AttemptRecord] = {}
    for name in sorted(_names(f"{run_dir}/attempts")):
        if name.startswith(prefix) and _ATTEMPT.fullmatch(name):
            record = read_record(f"{run_dir}/attempts/{name}", AttemptRecord)
            if key is not None and record.key != key:
                continue
            known = records.get(record.attempt)
            if ".rank" in name and record.outcome in (None, "completed"):
                continue  # rank 0 speaks for those that did as it did
            if known is None or known.outcome in (None, "completed"):
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
