"""Write files so that no reader sees half of one, and say plainly when a disk refuses."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from launcher.errors import StoreError


def now() -> str:
    """The present in ISO 8601, UTC, whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def seconds_since(stamp: str) -> float:
    """Seconds from an ISO 8601 stamp until now."""
    return (datetime.now(UTC) - datetime.fromisoformat(stamp)).total_seconds()


def seconds_between(start: str, end: str) -> float:
    """Seconds from one ISO 8601 stamp to another."""
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


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


def set_aside(folder: Path) -> None:
    """Rename a folder to the next free `<name>.<n>`, if it is there."""
    if not folder.exists():
        return
    taken = {path.name for path in folder.parent.iterdir()}
    number = next(n for n in range(1, len(taken) + 2) if f"{folder.name}.{n}" not in taken)
    with storing(folder):
        folder.rename(folder.with_name(f"{folder.name}.{number}"))


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


def present_s(folder: Path) -> float:
    """The file server's clock, which the times of all files in a folder follow.

    Raises:
        StoreError: the disk refuses.
    """
    probe = folder / f".now.{os.getpid()}.{os.urandom(4).hex()}"
    with storing(probe):
        probe.touch()
        try:
            return probe.stat().st_mtime
        finally:
            probe.unlink(missing_ok=True)
