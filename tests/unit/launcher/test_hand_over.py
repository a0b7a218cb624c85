"""Frozen runs get a token, a place and a batch, and go to the scheduler that takes them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from launcher import store
from launcher.records import SubmissionRecord
from launcher.scheduler.base import Job
from launcher.scheduler.local import Capacity, LocalScheduler
from launcher.scheduler.slurm import SlurmScheduler
from launcher.sending import hand_over
from tests.unit.launcher.samples import SHAPE, submission

LARGE = replace(SHAPE, cpus_per_rank=8)


@dataclass(kw_only=True)
class TakesAll(SlurmScheduler):
    """Notes what sbatch would be called for."""

    max_array_size: int | None = 1001
    sent: list[tuple[str, tuple[int, int] | None, tuple[str, ...]]] = field(default_factory=list)

    def sbatch(self, job: Job, token: str, indexes: tuple[int, int] | None) -> str:
        self.sent.append((token, indexes, job.after))
        return str(100 + len(self.sent) - 1)


def frozen(folder: Path, key: str, **changes: Any) -> tuple[Path, SubmissionRecord]:
    return folder / key, submission(**{"key": key, "token": "", "scheduler": "slurm", **changes})


def written(folder: Path, key: str) -> SubmissionRecord:
    record = store.submission(folder / key)
    assert record is not None
    return record


def test_runs_of_one_shape_are_one_batch_with_a_token_of_its_own(tmp_path: Path) -> None:
    scheduler = TakesAll(folder=tmp_path / ".submitit")
    runs = [frozen(tmp_path, k, shape=s) for k, s in (("a", SHAPE), ("b", LARGE), ("c", SHAPE))]
    assert hand_over(tmp_path, runs, scheduler)
    a, b, c = (written(tmp_path, key) for key in "abc")
    assert [a.index, b.index, c.index] == [0, 0, 1]
    assert a.token == c.token != b.token
    assert a.batch == str(store.batch_path(tmp_path, a.token)) == c.batch
    assert scheduler.sent == [(a.token, (0, 1), ()), (b.token, None, ())]
    assert (scheduler.folder / f"{a.token}.pkl").exists()


def test_the_file_of_a_batch_is_written_relative_to_the_run(tmp_path: Path) -> None:
    hand_over(tmp_path, [frozen(tmp_path, "a")], TakesAll(folder=tmp_path / ".submitit"))
    on_disk = json.loads((tmp_path / "a/submissions/001/submission.json").read_text())
    assert on_disk["batch"].startswith("../batches/")


def test_a_run_that_is_sent_again_leaves_its_old_batch_and_its_old_job(tmp_path: Path) -> None:
    scheduler = TakesAll(folder=tmp_path / ".submitit")
    scheduler.watch("a", "7")
    before = frozen(tmp_path, "a", token="old", index=3, batch="/old/batches/old.json")
    hand_over(tmp_path, [before], scheduler)
    now = written(tmp_path, "a")
    assert (now.index, now.batch) == (0, str(store.batch_path(tmp_path, now.token)))
    assert now.token not in ("", "old")
    assert not scheduler.is_watching("a")


def test_runs_wait_for_those_that_are_sent_with_them_and_not_for_completed_ones(
    tmp_path: Path,
) -> None:
    scheduler = TakesAll(folder=tmp_path / ".submitit")
    runs = [
        frozen(tmp_path, "encoder", is_required=True),
        frozen(tmp_path, "a", after=["encoder", "done"]),
    ]
    assert hand_over(tmp_path, runs, scheduler, completed={"done"})
    assert [after for *_, after in scheduler.sent] == [(), ("encoder",)]


def test_what_an_earlier_command_wrote_and_did_not_send_is_sent_after_what_is_new(
    tmp_path: Path,
) -> None:
    first = TakesAll(folder=tmp_path / ".submitit")
    waits_for_nobody_known = {"after": ["encoder"]}
    runs = [frozen(tmp_path, key, **waits_for_nobody_known) for key in "ab"]
    assert not hand_over(tmp_path, runs, first)
    assert first.sent == []
    second = TakesAll(folder=tmp_path / ".submitit")
    held = [(tmp_path / key, written(tmp_path, key)) for key in "ab"]
    new = [frozen(tmp_path, "c")]
    assert hand_over(tmp_path, new, second, waiting=held, completed={"encoder"})
    tokens = [written(tmp_path, key).token for key in "ca"]
    assert second.sent == [(tokens[0], None, ()), (tokens[1], (0, 1), ())]


@pytest.fixture
def pool(tmp_path: Path) -> LocalScheduler:
    return LocalScheduler(folder=tmp_path, capacity=Capacity(cpus=2, mem_gb=4, gpus=[]))


def test_local_runs_have_no_batch_and_are_queued_one_by_one(
    tmp_path: Path, pool: LocalScheduler
) -> None:
    waiting = frozen(tmp_path, "w", scheduler="local", token="earlier", after=["nobody"])
    runs = [frozen(tmp_path, key, scheduler="local", after=["nobody"]) for key in "ab"]
    assert hand_over(tmp_path, runs, pool, waiting=[waiting])
    a, b = (written(tmp_path, key) for key in "ab")
    assert (a.batch, b.batch, a.index, b.index) == (None, None, 0, 0)
    assert len({a.token, b.token, ""}) == 3
    assert {key: status.state for key, status in pool.poll().items()} == {
        "w": "waiting",
        "a": "waiting",
        "b": "waiting",
    }
    assert store.submission(tmp_path / "w") is None
