"""Records are whole or absent, and damage is told from absence."""

import os
import pickle
from pathlib import Path

import pytest

from launcher import catalog, files, store
from launcher.errors import StoreError
from launcher.records import SubmissionRecord
from tests.unit.launcher.samples import attempt, submission


def test_a_write_that_fails_half_way_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    files.write_json(path, {"old": 1})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left"):
        files.write_json(path, {"new": 2})
    assert path.read_text() == '{\n  "old": 1\n}\n'
    assert list(tmp_path.iterdir()) == [path]


def test_a_truncated_record_is_named(tmp_path: Path) -> None:
    store.write_submission(tmp_path, submission())
    path = tmp_path / "submissions" / "001" / "submission.json"
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(StoreError, match=r"submission.json` is damaged"):
        store.submission(tmp_path)


def test_a_record_of_a_newer_version_is_refused_even_if_its_fields_have_changed(
    tmp_path: Path,
) -> None:
    path = tmp_path / "submissions" / "001" / "submission.json"
    files.write_json(path, {"schema_version": 9, "name_of_the_run": "k"})
    with pytest.raises(StoreError, match="version 9"):
        store.submission(tmp_path)


def test_unknown_fields_survive(tmp_path: Path) -> None:
    path = tmp_path / "submission.json"
    content = submission().model_dump() | {"later": 1}
    files.write_json(path, content)
    assert store.read_record(path, SubmissionRecord).model_dump()["later"] == 1


def test_the_latest_sending_counts_and_one_of_another_run_does_not(tmp_path: Path) -> None:
    assert store.submission(tmp_path) is None
    for number in (1, 2):
        store.write_submission(tmp_path, submission(number=number))
    store.submission_dir(tmp_path, 3).mkdir()  # its writer was killed before the record
    found = store.submission(tmp_path, "k")
    assert found is not None
    assert found.number == 2
    assert store.submission(tmp_path, "another key") is None


def test_a_failure_that_only_another_rank_could_write_counts(tmp_path: Path) -> None:
    store.write_record(store.attempt_path(tmp_path, "001-000"), attempt())
    failed = attempt(outcome="task_error", error="ValueError: x")
    store.write_record(store.attempt_path(tmp_path, "001-000", rank=3), failed)
    assert store.attempts(tmp_path, 1) == [failed]


def test_rank_zeros_own_outcome_comes_first(tmp_path: Path) -> None:
    mine = attempt(outcome="task_error", error="mine")
    store.write_record(store.attempt_path(tmp_path, "001-000"), mine)
    store.write_record(
        store.attempt_path(tmp_path, "001-000", rank=1),
        attempt(outcome="task_error", error="other"),
    )
    assert store.attempts(tmp_path)[-1].error == "mine"


def test_the_study_that_changed_last_is_the_default(tmp_path: Path) -> None:
    for age, name in ((10, "new"), (1000, "old")):
        path = tmp_path / name / "study.json"
        files.write_json(path, {})
        os.utime(path, (path.stat().st_mtime - age,) * 2)
    assert catalog.find_study(None, tmp_path).name == "new"
    with pytest.raises(StoreError, match="no study `x`"):
        catalog.find_study("x", tmp_path)


def test_what_another_run_in_the_same_folder_returned_is_not_given_for_this_ones(
    tmp_path: Path,
) -> None:
    store.write_record(store.attempt_path(tmp_path, "001-000"), attempt(key="other"))
    path = store.returned_path(tmp_path, "001-000")
    path.write_bytes(pickle.dumps("of the other"))
    store.write_record(store.attempt_path(tmp_path, "002-000"), attempt(attempt="002-000"))
    assert store.returned(tmp_path, "k") is None
    assert store.returned(tmp_path, "other") == "of the other"


def test_a_failed_rank_outranks_the_success_of_rank_zero(tmp_path: Path) -> None:
    store.write_record(store.attempt_path(tmp_path, "001-000"), attempt(outcome="completed"))
    for rank, outcome in ((1, "completed"), (2, "gpu_oom")):
        store.write_record(
            store.attempt_path(tmp_path, "001-000", rank=rank), attempt(outcome=outcome)
        )
    assert [life.outcome for life in store.attempts(tmp_path)] == ["gpu_oom"]


def test_what_is_set_aside_never_replaces_what_was(tmp_path: Path) -> None:
    files.set_aside(tmp_path / "resume")  # nothing there, nothing to do
    for word in ("first", "second"):
        (tmp_path / "resume").mkdir()
        (tmp_path / "resume" / "word").write_text(word)
        files.set_aside(tmp_path / "resume")
    assert (tmp_path / "resume.1" / "word").read_text() == "first"
    assert (tmp_path / "resume.2" / "word").read_text() == "second"


def test_a_study_that_was_moved_finds_its_frozen_files(tmp_path: Path) -> None:
    study = tmp_path / "study"
    outside = str(tmp_path / "prerequisites" / "r")
    sent = submission(
        payload=str(study / "payload" / "p.pkl"),
        config=str(study / "k" / "submissions" / "001" / "config.pkl"),
        python_path=[str(study / "code" / "c0de" / "src")],
        inputs={"ours": str(study / "other"), "theirs": outside},
    )
    store.write_submission(study / "k", sent)
    moved = study.rename(tmp_path / "moved")
    found = store.submission(moved / "k")
    assert found is not None
    assert found.payload == str(moved / "payload" / "p.pkl")
    assert found.config == str(moved / "k" / "submissions" / "001" / "config.pkl")
    assert found.python_path == [str(moved / "code" / "c0de" / "src")]
    assert found.inputs == {"ours": str(moved / "other"), "theirs": outside}


def test_a_required_run_keeps_the_task_of_the_study_that_sent_it(tmp_path: Path) -> None:
    folder = tmp_path / "prerequisites" / "k"
    sent = submission(
        payload=str(tmp_path / "study" / "payload" / "p.pkl"),
        config=str(folder / "submissions" / "001" / "config.pkl"),
    )
    store.write_submission(folder, sent)
    moved = folder.parent.rename(tmp_path / "shared") / "k"
    found = store.submission(moved)
    assert found is not None
    assert found.config == str(moved / "submissions" / "001" / "config.pkl")
    assert found.payload == sent.payload
