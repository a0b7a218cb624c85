"""The journal of a run: every row that its training logged, in order, cut back at a resume.

One JSON object a line, `{"step": 9, "time": ..., "attempt": ..., "values": {...}}`, several for one
step. Rank 0
appends; the process that publishes and `launch sync` read. Nothing in here knows of W&B.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launcher.files import write_bytes

NAME = "rows.jsonl"
MOST_HELD = 10_000
"""Rows that are held in memory while the disk refuses them."""


@dataclass(frozen=True)
class Row:
    """What was logged at one step."""

    step: int
    time_s: float
    """When the first of it was logged, in seconds since the epoch."""
    attempt: str
    """The life that logged the first of it."""
    values: dict[str, Any] = field(default_factory=dict)


class Journal:
    """Appends rows to a file, whole lines only, and keeps them while the disk is full."""

    def __init__(self, path: Path, attempt: str) -> None:
        self._path = path
        self._attempt = attempt
        self._held: list[bytes] = []
        self._is_after_tear = path.exists()

    def append(self, step: int, time_s: float, values: Mapping[str, Any]) -> OSError | None:
        """Add a row; returns why it is not on disk yet, if it is not."""
        entry = {"step": step, "time": round(time_s, 3), "attempt": self._attempt}
        self._held.append(json.dumps({**entry, "values": dict(values)}).encode() + b"\n")
        del self._held[:-MOST_HELD]
        return self.flush()

    def flush(self) -> OSError | None:
        """Write what is held; returns why that did not work."""
        if not self._held:
            return None
        content = b"".join(self._held)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with open(self._path, "ab", buffering=0) as file:
                size = file.tell()
                if self._is_after_tear and size and not _ends_with_newline(self._path):
                    content = b"\n" + content
                if file.write(content) != len(content):
                    file.truncate(size)
                    return OSError("the disk took half of a row")
        except OSError as error:
            return error
        self._is_after_tear = False
        self._held.clear()
        return None

    def rewind(self, step: int) -> int:
        """Drop all rows of `step` and later, which the life that begins there logs again.

        Returns:
            Number of lines that were dropped.

        Raises:
            StoreError: the disk refuses.
        """
        kept, dropped = [], 0
        for entry in _entries(self._path):
            if entry["step"] < step:
                kept.append(json.dumps(entry) + "\n")
            else:
                dropped += 1
        if dropped:
            write_bytes(self._path, "".join(kept).encode())
        return dropped


def _ends_with_newline(path: Path) -> bool:
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def read(path: Path) -> list[Row]:
    """Rows by step: what was logged at one step is one row, and the last value of a name counts.

    Half a line, which a life that was killed may have left, is passed over.
    """
    found: dict[int, Row] = {}
    for entry in _entries(path):
        new = Row(entry["step"], entry["time"], entry["attempt"])
        row = found.setdefault(entry["step"], new)
        row.values.update(entry["values"])
    return [found[step] for step in sorted(found)]


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    for line in content.splitlines():
        try:
            entry = json.loads(line)
            entry["step"], entry["time"], entry["attempt"], entry["values"]
        except (ValueError, LookupError, TypeError):
            continue
        yield entry


def covered(rows: list[Row], saved_step: int | None, *, is_over: bool) -> list[Row]:
    """The rows that no later life will log again.

    Args:
        rows: All of a run.
        saved_step: Optimizer steps that the newest checkpoint holds; None without one.
        is_over: Whether no life will follow, so that nothing is logged again.

    The last row is left out until it is over: a validation may still add to it.
    """
    if is_over:
        return rows
    return [row for row in rows[:-1] if saved_step is not None and row.step < saved_step]
