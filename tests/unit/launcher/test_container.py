"""Ranks inside of a container, where SLURM's commands are not there."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from launcher import files, job, store
from launcher.context import RunContext
from launcher.world import World


def context(run_dir: Path, rank: int) -> RunContext:
    return RunContext(run_dir=run_dir, key="k" * 12, name="run", attempt="001-000", rank=rank)


def world(rank: int) -> World:
    return World(
        scheduler="slurm", job_id="7", rank=rank, local_rank=rank, world_size=2,
        hostnames=["n"], restart=0, ends_s=None,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def no_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")


def test_rank_0_leaves_the_verdict_to_the_guard_outside(tmp_path: Path) -> None:
    job._conclude(context(tmp_path, 0), world(0))
    assert not store.verdict_path(tmp_path, "001-000").exists()


def test_other_ranks_leave_when_rank_0_has_written_its_record_and_not_before(
    tmp_path: Path,
) -> None:
    record = context(tmp_path, 0).record("7")
    path = store.attempt_path(tmp_path, "001-000")
    store.write_record(path, record)
    waiter = threading.Thread(target=job._conclude, args=(context(tmp_path, 1), world(1)))
    waiter.start()
    time.sleep(0.5)
    assert waiter.is_alive()
    store.write_record(path, record.model_copy(update={"ended": files.now()}))
    waiter.join(10)
    assert not waiter.is_alive()
