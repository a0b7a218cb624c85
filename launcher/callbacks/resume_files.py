"""Resume checkpoints on disk: written beside and renamed, with a checksum, the last few kept.

<run>/checkpoints/resume/fit-00/step-000000120.ckpt    state, of plain types only
<run>/checkpoints/resume/fit-00/step-000000120.json    manifest, written after it

A checkpoint without a manifest was never finished; one whose bytes do not match it is damaged.
Either way the one before it serves, and that is said.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pickle
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO, Any

import torch

from launcher.callbacks import plain
from launcher.errors import LauncherError
from launcher.files import now, storing, write_bytes

log = logging.getLogger("launcher.checkpoints")
SCHEMA_VERSION = 1
_CHUNK = 1 << 22
_STEP = re.compile(r"step-(\d+)\.(ckpt|json)")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a resume checkpoint is, without loading it."""

    step: int
    """Optimizer steps that are done."""
    key: str
    """Of the run that wrote it."""
    attempt: str
    world_size: int
    accumulation: int
    bytes: int
    sha256: str
    created: str
    completed: bool = False
    """Whether training had come to its end."""
    schema_version: int = SCHEMA_VERSION

    @classmethod
    def read(cls, path: Path) -> Manifest | None:
        """The manifest at `path`, or None if it is damaged."""
        try:
            values = json.loads(path.read_text())
            known = {field.name for field in fields(cls)}
            return cls(**{name: value for name, value in values.items() if name in known})
        except (FileNotFoundError, ValueError, TypeError, AttributeError):
            return None


@dataclass(frozen=True, kw_only=True)
class ResumeFiles:
    """The resume checkpoints of one training of a run."""

    folder: Path
    key: str
    attempt: str
    keep: int

    def write(self, state: dict[str, Any], **facts: Any) -> Manifest:
        """Write encoded state; the oldest checkpoints beyond `keep` are removed after it.

        Args:
            state: What `plain.encode` gave.
            facts: `step`, `world_size`, `accumulation` and `completed` of the manifest.

        Raises:
            StoreError: the disk refused, e.g. because it is full; older checkpoints are whole.
        """
        path = self.path(facts["step"])
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        with storing(path):
            self.folder.mkdir(parents=True, exist_ok=True)
            for rest in self.folder.glob(".step-*"):
                rest.unlink(missing_ok=True)  # of a life that was killed while it wrote
            try:
                digest, size = _save(state, temporary)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
            _sync_folder(self.folder)
        manifest = Manifest(
            key=self.key,
            attempt=self.attempt,
            bytes=size,
            sha256=digest,
            created=now(),
            **facts,
        )
        content = json.dumps(asdict(manifest), indent=2) + "\n"
        write_bytes(path.with_suffix(".json"), content.encode())
        self._prune(facts["step"])
        return manifest

    def path(self, step: int) -> Path:
        """File of the checkpoint after `step` optimizer steps."""
        return self.folder / f"step-{step:09d}.ckpt"

    def steps(self) -> list[int]:
        """Steps that have a checkpoint or the rest of one, newest first."""
        found = (_STEP.fullmatch(path.name) for path in self.folder.glob("step-*"))
        return sorted({int(match.group(1)) for match in found if match}, reverse=True)

    def find(self) -> Manifest | None:
        """The newest whole checkpoint; each newer one that is damaged is named in the log.

        Raises:
            LauncherError: the newest belongs to another run.
        """
        damaged: list[int] = []
        for step in self.steps():
            manifest = Manifest.read(self.path(step).with_suffix(".json"))
            trouble = self._trouble(step, manifest)
            if trouble:
                damaged.append(step)
                log.warning("checkpoint of step %d is not used: %s", step, trouble)
                self._set_aside(step)
                continue
            assert manifest is not None
            self._refuse_foreign(manifest)
            if damaged:
                log.warning("the checkpoint of step %d is used instead", step)
            return manifest
        if damaged:
            log.warning("no whole checkpoint is left; training begins anew")
        return None

    def load(self, manifest: Manifest) -> dict[str, Any]:
        """State of a checkpoint that `find` returned.

        Raises:
            LauncherError: it holds something that is not data.
        """
        path = self.path(manifest.step)
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise LauncherError(
                f"`{path}` holds more than data and is not loaded: it could run code",
                hint="delete it; the run goes on from the checkpoint before it",
            ) from error
        decoded = plain.decode(state)
        assert isinstance(decoded, dict)
        return decoded

    def _trouble(self, step: int, manifest: Manifest | None) -> str:
        path = self.path(step)
        if manifest is None:
            return "it has no readable manifest, so it was never finished"
        if manifest.schema_version > SCHEMA_VERSION:
            return f"a newer launcher wrote it (version {manifest.schema_version})"
        if not path.exists():
            return "the file is missing"
        size = path.stat().st_size
        if size != manifest.bytes:
            return f"it has {size} bytes of {manifest.bytes}"
        return "" if _digest(path) == manifest.sha256 else "its checksum differs"

    def _refuse_foreign(self, manifest: Manifest) -> None:
        if manifest.key != self.key:
            raise LauncherError(
                f"`{self.path(manifest.step)}` was written by run {manifest.key}, this is run"
                f" {self.key}",
                hint="each run resumes its own checkpoints only; delete the folder to begin anew",
            )

    def _set_aside(self, step: int) -> None:
        """Keep a damaged one for whoever looks into it, and out of the way of whole ones."""
        for path in (self.path(step).with_suffix(".json"), self.path(step)):
            if path.exists():
                path.replace(path.with_name(f"{path.name}.damaged"))

    def _prune(self, written: int) -> None:
        others = [step for step in self.steps() if step != written]
        for step in others[self.keep - 1 :]:
            for path in (self.path(step).with_suffix(".json"), self.path(step)):
                path.unlink(missing_ok=True)


class _Hashing:
    """Passes what is written on to a file, and takes its digest on the way."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, data: Any) -> int:
        self.digest.update(data)
        self.size += memoryview(data).nbytes
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def _save(state: dict[str, Any], path: Path) -> tuple[str, int]:
    with open(path, "wb") as file:
        hashing = _Hashing(file)
        try:
            torch.save(state, hashing)  # type: ignore[arg-type]
        except RuntimeError as error:
            # torch wraps what the disk said, so say it as the disk would.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise
        file.flush()
        os.fsync(file.fileno())
    return hashing.digest.hexdigest(), hashing.size


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
