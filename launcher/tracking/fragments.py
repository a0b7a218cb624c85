"""Reads .wandb files: what W&B's own library keeps of a run on disk, offline or online.

A file is a header of 7 bytes (`:W&B`, 0xBEE1, version) and blocks of 32 KiB in the framing of
LevelDB's log (https://github.com/google/leveldb/blob/main/doc/log_format.md), with zlib's CRC-32
over type and data; each record is a protobuf message of W&B's public classes. A file of a process
that was killed may end in half a record, and is whole before it.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from launcher.files import write_bytes

BLOCK = 32 * 1024
_HEADER = struct.Struct("<4sHB")
_RECORD = struct.Struct("<IHB")
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
TORN = ".torn"
"""Added to the name of a file for what was cut off it."""
SYNCED = ".synced"
"""What `wandb sync` adds to the name of a file for the marker that it leaves beside it."""


@dataclass
class Fragment:
    """One .wandb file: what one life of a run told W&B."""

    path: Path
    run_id: str = ""
    group: str = ""
    job_type: str = ""
    name: str = ""
    project: str = ""
    entity: str = ""
    tags: tuple[str, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    alerts: list[tuple[str, str]] = field(default_factory=list)
    artifacts: dict[str, list[str]] = field(default_factory=dict)
    """Name -> references to its files; empty ones of files that were uploaded."""
    is_preempting: bool = False
    exit_code: int | None = None
    """None where the process ended without a word."""

    @property
    def steps(self) -> list[int]:
        """The steps of its rows, in the order in which they were told."""
        return [int(row["_step"]) for row in self.rows]

    @property
    def is_synced(self) -> bool:
        """Whether `wandb sync` has sent it."""
        return self.path.with_name(self.path.name + SYNCED).exists()

    def mark_synced(self) -> None:
        """Note, as `wandb sync` does, that W&B has all of it."""
        mark_synced(self.path)

    @property
    def attempt(self) -> str:
        """The life that wrote it."""
        return self.path.parents[2].name

    @property
    def is_online(self) -> bool:
        """Whether it was sent while it was written, as far as the server took it."""
        return not self.path.parent.name.startswith("offline-")


def mark_synced(path: Path) -> None:
    """Note, as `wandb sync` does, that W&B has all of a file."""
    path.with_name(path.name + SYNCED).touch()


def of_run(folder: Path) -> list[Fragment]:
    """Fragments of a run below its tracking folder, in the order of its lives.

    They lie in one folder per attempt: the times in W&B's own names are those of the nodes' clocks.
    A file that does not even say of which run it is was torn before it had a row, and is none.
    """
    paths = folder.glob("*/wandb/*run-*/run-*.wandb")
    found = [read(path) for path in sorted(paths, key=_order)]
    return [fragment for fragment in found if fragment.run_id]


def _order(path: Path) -> tuple[str, str]:
    return path.parents[2].name, path.parent.name.removeprefix("offline-")


def read(path: Path) -> Fragment:
    """Understand a file up to its end, or to where it is torn."""
    # Generated code, whose classes no type checker sees.
    messages: Any = import_module("wandb.proto.wandb_internal_pb2")
    found = Fragment(path)
    for content in records(path.read_bytes()):
        record = messages.Record()
        record.ParseFromString(content)
        _add(found, record)
    return found


def _add(found: Fragment, record: Any) -> None:
    kind = record.WhichOneof("record_type")
    if kind == "run":
        run = record.run
        found.run_id, found.group, found.job_type = run.run_id, run.run_group, run.job_type
        found.name, found.project, found.entity = run.display_name, run.project, run.entity
        found.tags = tuple(run.tags)
        _update(found.config, run.config.update)
    elif kind == "config":
        _update(found.config, record.config.update)
    elif kind == "history":
        found.rows.append(_row(record.history))
    elif kind == "summary":
        _update(found.summary, record.summary.update)
    elif kind == "alert":
        found.alerts.append((record.alert.title, record.alert.text))
    elif kind == "artifact":
        refs = [entry.ref for entry in record.artifact.manifest.contents]
        found.artifacts[record.artifact.name] = refs
    elif kind == "preempting":
        found.is_preempting = True
    elif kind == "exit":
        found.exit_code = record.exit.exit_code


def _row(history: Any) -> dict[str, Any]:
    row = {_name(item): json.loads(item.value_json) for item in history.item}
    return {"_step": history.step.num, **row}


def _update(tree: dict[str, Any], items: Any) -> None:
    tree.update({_name(item): json.loads(item.value_json) for item in items})


def _name(item: Any) -> str:
    return str(item.key or ".".join(item.nested_key))


def trim(path: Path) -> int:
    """Cut off what follows the last whole record of a file that nobody writes any more.

    `wandb sync` gives up at half a record, which a full disk or a kill leaves behind. What is cut
    off is kept beside it; a file without one whole record is left as it is.

    Returns:
        Number of bytes that were cut off.

    Raises:
        StoreError: the disk refuses what is cut off, and nothing is.
    """
    content = path.read_bytes()
    end = max((place for place, _ in _located(content)), default=len(content))
    if end < len(content):
        write_bytes(path.with_name(path.name + TORN), content[end:])
        os.truncate(path, end)
    return len(content) - end


def records(content: bytes) -> Iterator[bytes]:
    """Whole records of a file, in order; the first damage ends it."""
    for _, record in _located(content):
        yield record


def _located(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Whole records, each with the place behind it."""
    if len(content) < _HEADER.size:
        return
    magic, number, _ = _HEADER.unpack_from(content)
    if magic != b":W&B" or number != 0xBEE1:
        return
    place, parts = _HEADER.size, b""
    while True:
        left = BLOCK - place % BLOCK
        if left < _RECORD.size:
            place += left
        if place + _RECORD.size > len(content):
            return
        crc, length, kind = _RECORD.unpack_from(content, place)
        data = content[place + _RECORD.size : place + _RECORD.size + length]
        if len(data) != length or zlib.crc32(bytes([kind]) + data) != crc:
            return
        place += _RECORD.size + length
        parts = data if kind in (_FULL, _FIRST) else parts + data
        if kind in (_FULL, _LAST):
            yield place, parts
