"""What an exception says about why an attempt ended."""

from __future__ import annotations

import errno
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from launcher import failures, job
from launcher.errors import StoreError
from launcher.failures import one_line, outcome_of


class OutOfMemoryError(RuntimeError):
    """Named as torch names its own."""


def caused_by(cause: BaseException) -> BaseException:
    """An exception of the task that was raised because of another."""
    try:
        try:
            raise cause
        except BaseException as error:
            raise RuntimeError("training failed") from error
    except RuntimeError as error:
        return error


@pytest.mark.parametrize(
    ("error", "ranks", "outcome"),
    [
        (ValueError("no"), 1, "task_error"),
        (OutOfMemoryError("CUDA out of memory"), 1, "gpu_oom"),
        (caused_by(OutOfMemoryError("CUDA out of memory")), 4, "gpu_oom"),
        (MemoryError(), 1, "host_oom"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "disk_full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), 1, "disk_full"),
        (caused_by(StoreError("cannot write `x`: No space left on device")), 1, "disk_full"),
        (RuntimeError("[gloo] Connection closed by peer [127.0.0.1]:3"), 4, "crash"),
        (RuntimeError("Connection closed by peer"), 1, "task_error"),  # a server of the task's own
        (ConnectionResetError("Connection reset by peer"), 1, "task_error"),
        (type("DistBackendError", (RuntimeError,), {})("NCCL error"), 2, "crash"),
    ],
)
def test_an_exception_stands_for_its_cause(error: BaseException, ranks: int, outcome: str) -> None:
    assert outcome_of(error, ranks) == outcome


@pytest.mark.parametrize(("kills", "outcome"), [(1, "host_oom"), (0, "task_error")])
def test_a_killed_worker_is_out_of_memory_only_if_the_kernel_killed(
    kills: int, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "oom_kills", lambda: kills)
    error = RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")
    assert outcome_of(error) == outcome


def test_a_long_message_is_cut_in_the_middle() -> None:
    assert one_line(ValueError("first\n\n  second\nlast")) == "ValueError: first ... last"


def test_a_run_of_wandb_is_marked_when_it_will_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    marked: list[Any] = []
    run = SimpleNamespace(mark_preempting=lambda: marked.append(True))
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(run=run))
    job._mark_preempting()
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(run=None))
    job._mark_preempting()
    assert marked == [True]
