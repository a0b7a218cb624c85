"""Two attempts of a run never have its folder at once."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from launcher import beats, lease, store
from launcher.lease import Lease, TakenError
from launcher.records import VerdictRecord


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    (tmp_path / "attempts").mkdir()
    return tmp_path


def of(attempt: str, job: str = "1") -> Lease:
    return Lease(attempt=attempt, job_id=job, time="2026-01-01T00:00:00+00:00")


def take(run_dir: Path, wanted: Lease, ended: bool | None, patience_s: float = 0.0) -> list[str]:
    told: list[str] = []
    lease.take(
        run_dir, wanted, has_ended=lambda _: ended, waiting=told.append, patience_s=patience_s
    )
    assert lease.read(run_dir) == wanted
    return told


def beat(run_dir: Path, attempt: str, phase: str = "training") -> None:
    known = {"rank": 0, "host": "gl001", "pid": 1, "time": "", "since": ""}
    beats.write(run_dir, attempt, beats.Beat(**known, phase=phase))


def conclude(run_dir: Path, attempt: str) -> None:
    verdict = VerdictRecord(
        attempt=attempt, key="k", job_id="1", time="", by="guard", outcome="walltime",
        evidence=["x"], action="requeue",
    )  # fmt: skip
    store.write_record(store.verdict_path(run_dir, attempt), verdict)


def test_the_next_life_takes_over_from_one_that_is_over(run_dir: Path) -> None:
    take(run_dir, of("001-000"), ended=None)
    take(run_dir, of("001-000"), ended=None)  # the same once more
    take(run_dir, of("001-001"), ended=True)
    take(run_dir, of("002-000", "2"), ended=None)
    assert [path.name for path in (run_dir / "attempts").iterdir()] == [".lease.000003"]


def test_a_life_that_never_took_the_run_is_not_waited_for(tmp_path: Path) -> None:
    lease.end(tmp_path, "001-000", waiting=lambda who: pytest.fail(f"waits for {who}"))
    assert list(tmp_path.iterdir()) == []


def test_while_slurm_says_that_another_job_runs_it_has_the_folder(run_dir: Path) -> None:
    take(run_dir, of("001-000"), ended=None)
    with pytest.raises(TakenError, match=r"attempt 001-000 .*\(job 1\) still lives"):
        take(run_dir, of("002-000", "2"), ended=False)
    assert lease.read(run_dir) == of("001-000")


@pytest.mark.parametrize("ended", [True, None])
def test_signs_of_life_outrank_slurm_until_they_stop(run_dir: Path, ended: bool | None) -> None:
    take(run_dir, of("001-000"), ended=None)
    beat(run_dir, "001-000")
    with pytest.raises(TakenError):
        take(run_dir, of("001-001"), ended)
    old = time.time() - lease.SILENT_S - 1
    os.utime(beats.folder(run_dir, "001-000") / "0.json", (old, old))
    take(run_dir, of("001-001"), ended)


def test_a_rank_that_left_and_a_life_that_was_concluded_are_no_signs_of_life(run_dir: Path) -> None:
    take(run_dir, of("001-000"), ended=None)
    beat(run_dir, "001-000", beats.LEFT)
    take(run_dir, of("001-001"), ended=True)
    beat(run_dir, "001-001")
    conclude(run_dir, "001-001")
    take(run_dir, of("001-002"), ended=True)


def test_a_life_that_goes_on_after_its_verdict_is_called_off(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "POLL_S", 0.01)
    take(run_dir, of("001-000"), ended=None)
    conclude(run_dir, "001-000")
    verdict = store.verdict_path(run_dir, "001-000")
    os.utime(verdict, (time.time() - 1, time.time() - 1))
    beat(run_dir, "001-000")
    with pytest.raises(TakenError, match="001-000"):
        take(run_dir, of("001-001"), ended=True, patience_s=0.05)
    assert beats.find_alarm(run_dir, "001-000") is not None


def test_a_life_that_slurm_gave_up_is_called_off_before_it_is_concluded(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "POLL_S", 0.01)
    told: list[str] = []
    lease.end(run_dir, "001-000", waiting=told.append)
    assert told == []
    beat(run_dir, "001-000")
    with pytest.raises(TakenError, match="a node that SLURM has lost"):
        lease.end(run_dir, "001-000", waiting=told.append, patience_s=0.0)
    assert told == ["attempt 001-000, which SLURM has given up"]
    assert beats.find_alarm(run_dir, "001-000") is not None
    beat(run_dir, "001-000", beats.LEFT)
    lease.end(run_dir, "001-000", waiting=told.append)


def test_a_second_job_of_the_same_attempt_is_refused(run_dir: Path) -> None:
    take(run_dir, of("001-000"), ended=None)
    with pytest.raises(TakenError, match="is job 1, not 2"):
        take(run_dir, of("001-000", "2"), ended=True)


def test_a_life_that_is_ending_is_waited_for_and_named_once(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "POLL_S", 0.01)
    take(run_dir, of("001-000"), ended=None)
    answers = iter([False, False, True])
    told: list[str] = []
    lease.take(run_dir, of("002-000", "2"), has_ended=lambda _: next(answers), waiting=told.append)
    assert told == ["attempt 001-000 (job 1)"]


def test_of_many_that_start_at_once_one_has_it_at_a_time(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "POLL_S", 0.005)
    take(run_dir, of("001-000"), ended=None)

    def start(number: int) -> str | None:
        mine = of(f"{number:03d}-000", str(number))
        try:
            lease.take(
                run_dir,
                mine,
                has_ended=lambda holder: holder.attempt == "001-000",
                waiting=lambda _: None,
                patience_s=0.3,
            )
        except TakenError:
            return None
        return mine.attempt

    with ThreadPoolExecutor(8) as pool:
        taken = [attempt for attempt in pool.map(start, range(2, 10)) if attempt]
    holder = lease.read(run_dir)
    assert holder is not None
    assert taken == [holder.attempt]
