"""Each run of a batch is sent exactly once, whatever SLURM answers and whenever we are killed."""

from __future__ import annotations

import itertools
import pickle
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from launcher import batches, files, sending, store
from launcher.errors import StoreError, SubmissionError
from launcher.records import BatchRecord
from launcher.scheduler.base import Job, JobStatus
from launcher.scheduler.client import FullError, QueuedJob, SubmitLimitError, UnsureError
from tests.unit.launcher.samples import attempt, submission

TOKEN = "abcdef012345"
LIMIT = SubmitLimitError("sbatch refused: QOSMaxSubmitJobPerUserLimit")
FULL = FullError("sbatch could not send")
LOST = UnsureError("sbatch gave no answer")
REFUSED = SubmissionError("sbatch refused: Invalid account")


@dataclass
class FakeSlurm:
    """Takes batches as SLURM does, and answers as the test scripts it; then it takes all."""

    answers: list[Exception | None] = field(default_factory=list)
    """Of each call of sbatch: an error, or None where it is taken."""
    takes_lost: bool = False
    """Whether a job whose answer was lost was taken."""
    most_jobs: int | None = None
    """Submit limit of the user, in array elements."""
    calls: list[tuple[int, int] | None] = field(default_factory=list)
    jobs: dict[str, tuple[str, tuple[int, int] | None, tuple[str, ...]]] = field(
        default_factory=dict
    )
    gone: set[str] = field(default_factory=set)
    """Jobs that have left the queue."""
    watched: dict[str, str] = field(default_factory=dict)

    def sbatch(self, job: Job, token: str, indexes: tuple[int, int] | None) -> str:
        self.calls.append(indexes)
        answer = self.answers.pop(0) if self.answers else None
        first, last = indexes or (0, 0)
        if self.most_jobs is not None and len(self.queue()) + last - first + 1 > self.most_jobs:
            raise LIMIT
        if answer is not None and not (answer is LOST and self.takes_lost):
            raise answer
        job_id = str(100 + len(self.jobs))
        self.jobs[job_id] = (token, indexes, job.after)
        if answer is not None:
            raise answer
        return job_id

    def queue(self) -> list[QueuedJob]:
        return [
            QueuedJob(
                job_id=job_id if indexes is None else f"{job_id}_{index}",
                token=token,
                status=JobStatus(state="pending"),
            )
            for job_id, (token, indexes, _) in self.jobs.items()
            if job_id not in self.gone
            for index in range((indexes or (0, 0))[0], (indexes or (0, 0))[1] + 1)
        ]

    def watch(self, key: str, job_id: str) -> None:
        self.watched[key] = job_id

    def is_watching(self, key: str) -> bool:
        return key in self.watched

    def times_sent(self) -> dict[int, int]:
        """How often each element was sent."""
        ranges = [indexes or (0, 0) for _, indexes, _ in self.jobs.values()]
        return dict(Counter(i for first, last in ranges for i in range(first, last + 1)))


def create(folder: Path, size: int, **changes: Any) -> Path:
    """A batch of `size` frozen runs."""
    batch = store.batch_path(folder, TOKEN)
    records = []
    for index in range(size):
        place = {"key": f"k{index}", "token": TOKEN, "index": index, "batch": str(batch)}
        record = submission(**{**place, "scheduler": "slurm", **changes})
        store.write_submission(folder / record.key, record)
        records.append((folder / record.key, record))
    return batches.create(folder, records, folder / f"{TOKEN}.pkl")


def sender(slurm: FakeSlurm, completed: Iterable[str] = ()) -> sending.Sender:
    return sending.Sender(
        scheduler=slurm,  # type: ignore[arg-type]
        completed=set(completed),
        known=slurm.is_watching,
        sleep=lambda _: None,
    )


def parts(path: Path) -> list[tuple[int, int, str | None]]:
    batch = store.read_record(path, BatchRecord)
    return [(part.first, part.last, part.job_id) for part in batch.parts]


def write_open_part(path: Path, first: int, last: int) -> None:
    """What a command leaves that is killed while sbatch is under way."""
    files.write_json(
        path,
        store.read_record(path, BatchRecord).model_dump()
        | {"parts": [{"first": first, "last": last}]},
    )


def test_a_batch_is_written_with_what_its_jobs_will_read_before_anything_is_sent(
    tmp_path: Path,
) -> None:
    path = create(tmp_path, 2)
    batch = store.read_record(path, BatchRecord)
    assert (batch.parts, batch.job_id(0)) == ([], None)
    assert [Path(name) for name in batch.submissions] == [
        tmp_path / "k0" / "submissions" / "001",
        tmp_path / "k1" / "submissions" / "001",
    ]
    attempts = pickle.loads((tmp_path / f"{TOKEN}.pkl").read_bytes())
    assert [(a.key, a.run_dir) for a in attempts] == [
        ("k0", str(tmp_path / "k0")),
        ("k1", str(tmp_path / "k1")),
    ]


def test_a_batch_is_completed_after_sbatch_and_each_run_knows_its_job(tmp_path: Path) -> None:
    path, slurm = create(tmp_path, 3), FakeSlurm()
    assert sender(slurm).send([path])
    assert parts(path) == [(0, 2, "100")]
    sent = {f"k{i}": store.submission(tmp_path / f"k{i}") for i in range(3)}
    ids = batches.job_ids({key: record for key, record in sent.items() if record is not None})
    assert ids == {"k0": "100_0", "k1": "100_1", "k2": "100_2"}
    assert slurm.watched == {}


def test_a_run_alone_is_a_plain_job(tmp_path: Path) -> None:
    path, slurm = create(tmp_path, 1), FakeSlurm()
    assert sender(slurm).send([path])
    assert slurm.calls == [None]
    assert store.read_record(path, BatchRecord).job_id(0) == "100"


def test_what_is_sent_already_is_not_sent_again(tmp_path: Path) -> None:
    path, slurm = create(tmp_path, 3), FakeSlurm()
    sender(slurm).send([path])
    assert sender(slurm).send([path])
    assert len(slurm.calls) == 1


def test_at_the_submit_limit_halves_are_tried_and_the_rest_is_left(tmp_path: Path) -> None:
    path, slurm = create(tmp_path, 10), FakeSlurm(most_jobs=6)
    assert not sender(slurm).send([path])
    assert slurm.times_sent() == {i: 1 for i in range(6)}
    assert all(job_id is not None for *_, job_id in parts(path))


def test_the_next_send_sends_only_the_rest(tmp_path: Path) -> None:
    path, slurm = create(tmp_path, 10), FakeSlurm(most_jobs=6)
    sender(slurm).send([path])
    slurm.gone.update(slurm.jobs)
    assert sender(slurm).send([path])
    assert slurm.times_sent() == {i: 1 for i in range(10)}
    assert sorted((first, last) for first, last, _ in parts(path))[-1][1] == 9


def test_where_not_one_job_is_taken_nothing_is_recorded(tmp_path: Path) -> None:
    path, slurm = create(tmp_path, 5), FakeSlurm(most_jobs=0)
    assert not sender(slurm).send([path])
    assert parts(path) == []
    assert slurm.calls == [(0, 4), (0, 1), (0, 0)]


def test_a_full_slurm_is_not_asked_a_second_time(tmp_path: Path) -> None:
    path, slurm = create(tmp_path, 5), FakeSlurm(answers=[FULL])
    assert not sender(slurm).send([path])
    assert (len(slurm.calls), parts(path)) == (1, [])


def test_later_batches_wait_when_the_limit_left_some_of_an_earlier_one(tmp_path: Path) -> None:
    first, second = create(tmp_path / "a", 2), create(tmp_path / "b", 2)
    slurm = FakeSlurm(answers=[FULL])
    assert not sender(slurm).send([first, second])
    assert (parts(first), parts(second)) == ([], [])


def test_a_refusal_is_raised_and_leaves_the_batch_as_it_was(tmp_path: Path) -> None:
    path, slurm = create(tmp_path, 5), FakeSlurm(answers=[REFUSED])
    with pytest.raises(SubmissionError, match="Invalid account"):
        sender(slurm).send([path])
    assert parts(path) == []


def test_a_refusal_after_a_part_was_taken_keeps_that_part(tmp_path: Path) -> None:
    path, slurm = create(tmp_path, 4), FakeSlurm(answers=[LIMIT, None, REFUSED])
    with pytest.raises(SubmissionError, match="Invalid account"):
        sender(slurm).send([path])
    assert parts(path) == [(0, 1, "100")]


def test_a_lost_answer_whose_job_is_in_the_queue_is_taken_for_a_success(tmp_path: Path) -> None:
    path, slurm = create(tmp_path, 3), FakeSlurm(answers=[LOST], takes_lost=True)
    assert sender(slurm).send([path])
    assert parts(path) == [(0, 2, "100")]
    assert slurm.times_sent() == {0: 1, 1: 1, 2: 1}


def test_a_job_that_shows_up_only_later_is_found_too(tmp_path: Path) -> None:
    path, slurm = create(tmp_path, 3), FakeSlurm(answers=[LOST], takes_lost=True)
    slurm.gone.add("100")
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == len(sending.LOOK_AGAIN_S):
            slurm.gone.clear()

    waiting = sending.Sender(
        scheduler=slurm,  # type: ignore[arg-type]
        completed=(),
        known=slurm.is_watching,
        sleep=pause,
    )
    assert waiting.send([path])
    assert tuple(pauses) == sending.LOOK_AGAIN_S
    assert parts(path) == [(0, 2, "100")]


def test_a_lost_answer_whose_job_is_not_found_is_raised_and_the_part_stays_open(
    tmp_path: Path,
) -> None:
    path, slurm = create(tmp_path, 3), FakeSlurm(answers=[LOST])
    with pytest.raises(UnsureError):
        sender(slurm).send([path])
    assert parts(path) == [(0, 2, None)]
    batches.adopt(path, slurm.queue())
    assert sender(slurm).send([path])
    assert slurm.times_sent() == {0: 1, 1: 1, 2: 1}


def test_an_open_part_is_never_sent_again_before_it_was_looked_for(tmp_path: Path) -> None:
    path, slurm = create(tmp_path, 3), FakeSlurm()
    write_open_part(path, 0, 1)
    assert sender(slurm).send([path])
    assert slurm.calls == [(2, 2)]


def queued(*job_ids: str, token: str = TOKEN) -> list[QueuedJob]:
    status = JobStatus(state="pending")
    return [QueuedJob(job_id=job_id, token=token, status=status) for job_id in job_ids]


def test_an_open_part_is_adopted_by_the_token_of_its_job(tmp_path: Path) -> None:
    path = create(tmp_path, 3)
    write_open_part(path, 0, 2)
    batches.adopt(path, [*queued("7_0", token="other"), *queued("8_2")])
    assert parts(path) == [(0, 2, "8")]


def test_an_open_part_of_a_plain_job_is_adopted(tmp_path: Path) -> None:
    path = create(tmp_path, 1)
    write_open_part(path, 0, 0)
    batches.adopt(path, queued("8"))
    assert store.read_record(path, BatchRecord).job_id(0) == "8"


def test_a_part_does_not_take_the_job_of_another_part_of_its_batch(tmp_path: Path) -> None:
    path = create(tmp_path, 4)
    write_open_part(path, 2, 3)
    batches.adopt(path, queued("8_0", "8_1"))
    assert parts(path) == []


def test_an_open_part_whose_job_has_left_the_queue_is_adopted_by_its_attempts(
    tmp_path: Path,
) -> None:
    path = create(tmp_path, 3)
    write_open_part(path, 0, 2)
    store.write_record(store.attempt_path(tmp_path / "k1", "001-000"), attempt(job_id="9_1"))
    batches.adopt(path, [])
    assert parts(path) == [(0, 2, "9")]


def test_an_attempt_of_an_earlier_sending_proves_nothing(tmp_path: Path) -> None:
    path = create(tmp_path, 2, number=2)
    write_open_part(path, 0, 1)
    store.write_record(store.attempt_path(tmp_path / "k0", "001-000"), attempt(job_id="9_0"))
    batches.adopt(path, [])
    assert parts(path) == []


def test_a_part_that_was_never_taken_is_dropped(tmp_path: Path) -> None:
    path = create(tmp_path, 3)
    write_open_part(path, 0, 2)
    batches.adopt(path, queued("7_0", token="other"))
    assert parts(path) == []


def test_a_look_writes_nothing(tmp_path: Path) -> None:
    path = create(tmp_path, 3)
    write_open_part(path, 0, 2)
    before = path.read_bytes()
    assert batches.adopt(path, queued("8_0"), write=False).job_id(2) == "8_2"
    assert path.read_bytes() == before


def test_what_others_wait_for_is_told_to_the_scheduler_also_when_it_is_adopted(
    tmp_path: Path,
) -> None:
    path, slurm = create(tmp_path, 2, is_required=True), FakeSlurm([LOST], takes_lost=True)
    assert sender(slurm).send([path])
    assert slurm.watched == {"k0": "100_0", "k1": "100_1"}


def test_a_run_waits_unsent_until_what_it_requires_is_sent(tmp_path: Path) -> None:
    path, slurm = create(tmp_path, 2, after=["encoder", "done"]), FakeSlurm()
    assert not sender(slurm, completed=["done"]).send([path])
    assert slurm.calls == []
    slurm.watch("encoder", "50")
    assert sender(slurm, completed=["done"]).send([path])
    assert slurm.jobs["100"][2] == ("encoder",)


def test_a_batch_that_somebody_deleted_is_named(tmp_path: Path) -> None:
    path = create(tmp_path, 2)
    path.unlink()
    sent = store.submission(tmp_path / "k0")
    assert sent is not None
    with pytest.raises(StoreError, match=f"{TOKEN}.json` is gone") as raised:
        batches.job_ids({"k0": sent})
    assert "squeue shows no such job" in str(raised.value)


class KilledError(BaseException):
    """The end of a process, at a moment of our choice."""


def dies_at(moment: int, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Die just before, or just after, the n-th thing that leaves a trace."""
    moments = itertools.count()

    def either_side(function: Any) -> Any:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            if next(moments) == moment:
                raise KilledError
            try:
                return function(*arguments, **options)
            finally:
                if next(moments) == moment:
                    raise KilledError

        return wrapped

    monkeypatch.setattr(files, "write_bytes", either_side(files.write_bytes))
    monkeypatch.setattr(slurm, "sbatch", either_side(slurm.sbatch))


SCENES: dict[str, tuple[int, Sequence[Exception | None]]] = {
    "one_array": (4, ()),
    "a_plain_job": (1, ()),
    "submit_limit": (4, (LIMIT,)),
    "lost_and_taken": (4, (LOST,)),
}


@pytest.mark.parametrize("has_ended", [False, True], ids=["queued", "ended"])
@pytest.mark.parametrize("scene", sorted(SCENES))
def test_whenever_a_command_is_killed_the_next_one_sends_exactly_what_is_missing(
    scene: str, has_ended: bool, tmp_path: Path
) -> None:
    size, answers = SCENES[scene]
    for moment in itertools.count():
        folder = tmp_path / str(moment)
        path = create(folder, size)
        slurm = FakeSlurm(list(answers), takes_lost=True)
        was_killed = False
        with pytest.MonkeyPatch.context() as patch:
            dies_at(moment, slurm, patch)
            try:
                sender(slurm).send([path])
            except KilledError:
                was_killed = True
        if has_ended:
            _let_all_end(folder, slurm)
        slurm.answers.clear()
        batches.adopt(path, slurm.queue())
        assert sender(slurm).send([path])
        assert slurm.times_sent() == {i: 1 for i in range(size)}, moment
        assert {job_id for *_, job_id in parts(path)} == set(slurm.jobs), moment
        if not was_killed:
            break
    assert moment >= 6, "no moment was tried"


def _let_all_end(folder: Path, slurm: FakeSlurm) -> None:
    """Each job starts, leaves the records of its attempts, and leaves the queue."""
    for job in slurm.queue():
        job_id, _, element = job.job_id.partition("_")
        record = attempt(job_id=job.job_id, outcome="completed")
        store.write_record(store.attempt_path(folder / f"k{element or 0}", "001-000"), record)
        slurm.gone.add(job_id)
