"""The thread that writes checkpoints: what it says of the last one, and what it does not hide."""

from __future__ import annotations

from typing import Any

import pytest

from launcher.callbacks.writer import Writer
from launcher.errors import StoreError


class Disk:
    """Takes what it is given, unless it has an error to raise."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.taken: list[tuple[dict[str, Any], dict[str, Any]]] = []

    def write(self, state: dict[str, Any], **facts: Any) -> None:
        if self.error is not None:
            raise self.error
        self.taken.append((state, facts))


def write(writer: Writer, disk: Any, step: int) -> None:
    writer.write(disk, {"state": step}, step=step, world_size=2)
    writer.join()


def test_a_checkpoint_that_was_kept_is_the_newest() -> None:
    writer, disk = Writer(), Disk()
    writer.join()  # nothing is on its way yet
    write(writer, disk, 5)
    assert disk.taken == [({"state": 5}, {"step": 5, "world_size": 2})]
    assert writer.saved_step == 5
    assert writer.takes_s > 0
    writer.raise_if_refused()


def test_a_full_disk_is_remembered_until_the_next_checkpoint_finds_room() -> None:
    writer, disk = Writer(), Disk()
    write(writer, disk, 5)
    disk.error = StoreError("no space left")
    write(writer, disk, 6)
    assert writer.saved_step == 5
    with pytest.raises(StoreError, match="no space left"):
        writer.raise_if_refused()
    disk.error = None
    write(writer, disk, 7)
    writer.raise_if_refused()
    assert writer.saved_step == 7


def test_a_defect_of_the_writing_is_raised_where_it_is_waited_for() -> None:
    writer, disk = Writer(), Disk()
    disk.error = KeyError("defect")
    with pytest.raises(KeyError):
        write(writer, disk, 5)
    writer.join()  # once
