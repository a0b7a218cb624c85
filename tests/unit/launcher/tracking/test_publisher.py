"""What the publisher says to the log of a run, and when it believes that rows are on disk."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from launcher.tracking import publisher, running
from launcher.tracking.publisher import Publisher


def reading(monkeypatch: pytest.MonkeyPatch, *steps: list[int]) -> None:
    """A file that holds these steps at one look after the other, and the last ones from then on."""
    looks = list(steps)

    def read(_: Path) -> Any:
        return SimpleNamespace(steps=looks.pop(0) if len(looks) > 1 else looks[0])

    monkeypatch.setattr(publisher.fragments, "read", read)


def told(last: int | None) -> Any:
    return SimpleNamespace(file=Path("run.wandb"), last_told=last)


def test_rows_that_come_to_the_disk_after_the_end_are_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reading(monkeypatch, [], [0, 1], [0, 1, 2])
    assert publisher._is_written(told(2))


def test_rows_that_never_come_are_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "WRITTEN_WITHIN_S", 0.1)
    reading(monkeypatch, [0, 1])
    assert not publisher._is_written(told(2))


def test_a_life_that_told_nothing_has_nothing_to_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    reading(monkeypatch, [])
    assert publisher._is_written(told(None))


def test_a_second_warning_does_not_hide_the_first(tmp_path: Path) -> None:
    says = Publisher.__new__(Publisher)
    says.folder = tmp_path
    says.warn("W&B is offline: no key")
    says.warn("the disk is full")
    assert (tmp_path / running.WARNING).read_text() == "W&B is offline: no key; the disk is full"
