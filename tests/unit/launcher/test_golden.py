"""Studies that an earlier version wrote stay readable, and damage stays where it is.

tests/golden/v1 holds records as version 1 writes them, a study of this machine and one of SLURM,
without pickles, code and logs. Their paths start with /studies, which a test puts elsewhere.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from launcher import files, store
from launcher.cached import SchedulerRecord, remembered_status
from launcher.errors import StoreError
from launcher.records import (
    AttemptRecord,
    BatchRecord,
    CancelRecord,
    Record,
    StudyRecord,
    SubmissionRecord,
)
from launcher.states import RunStatus
from launcher.studies import Study
from tests.programs import REPOSITORY

GOLDEN = REPOSITORY / "tests" / "golden" / "v1"
KINDS: dict[str, type[Record]] = {
    "slurm/study.json": StudyRecord,
    "slurm/aaaa00000000/submissions/001/submission.json": SubmissionRecord,
    "slurm/aaaa00000000/attempts/001-001.json": AttemptRecord,
    "slurm/batches/111111111abc.json": BatchRecord,
    "slurm/cccc00000000/cancelled.json": CancelRecord,
    "slurm/scheduler.json": SchedulerRecord,
    "local/study.json": StudyRecord,
    "local/0/submissions/001/submission.json": SubmissionRecord,
    "local/2/attempts/001-000.json": AttemptRecord,
}
DAMAGE = {
    "empty": lambda content: b"",
    "truncated": lambda content: content[: len(content) // 2],
    "garbage": lambda content: b"\xff\xfe\x00 garbage \x80" + content,
    "a_list": lambda content: b"[1, 2]",
    "null": lambda content: b"null",
    "zeros": lambda content: b"\0" * len(content),
}
damages = pytest.mark.parametrize("damage", sorted(DAMAGE))


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    """The golden studies, with paths that lead to themselves."""
    shutil.copytree(GOLDEN, tmp_path, dirs_exist_ok=True)
    for path in tmp_path.rglob("*.json"):
        path.write_text(path.read_text().replace('"/studies/', f'"{tmp_path}/'))
    return tmp_path


def states(study: Path) -> dict[str, str]:
    return {status.name: status.state for status in Study(study).status()}


def one(study: Path, name: str) -> RunStatus:
    (found,) = [status for status in Study(study).status() if status.name == name]
    return found


def do_damage(path: Path, damage: str) -> None:
    path.write_bytes(DAMAGE[damage](path.read_bytes()))


LOCAL_STATES = {"x=1": "completed", "x=2": "completed", "x=3": "failed"}
SLURM_STATES = {
    "encoder eeee00": "completed",
    "trainer.seed=0": "completed",
    "trainer.seed=1": "running",
    "trainer.seed=2": "cancelled",
    "trainer.seed=3": "held",
    "trainer.seed=4": "new",
}


def test_the_states_of_a_study_of_this_machine_are_still_told(studies: Path) -> None:
    assert states(studies / "local") == LOCAL_STATES
    failed = one(studies / "local", "x=3")
    assert (failed.outcome, failed.reason) == ("task_error", "ValueError: x is 3")
    assert failed.varying == {"x": "3"}


def test_the_states_of_a_study_of_slurm_are_still_told(studies: Path) -> None:
    assert states(studies / "slurm") == SLURM_STATES
    running = one(studies / "slurm", "trainer.seed=1")
    assert (running.job_id, running.attempts, running.node) == ("102", 2, "node1")
    assert (running.progress["step"], running.code) == (120, "2f0c9a7b2d3e")
    assert (running.timeout_min, running.mem_gb, running.mem_peak_gb) == (1440, 400.0, 30.0)
    completed = one(studies / "slurm", "trainer.seed=0")
    assert (completed.job_id, completed.attempts, completed.mem_peak_gb) == ("100_0", 2, 33.25)
    assert one(studies / "slurm", "trainer.seed=2").job_id == "101_2"
    assert one(studies / "slurm", "trainer.seed=3").job_id == ""


def test_the_results_of_both_are_still_read(studies: Path) -> None:
    local = Study(studies / "local").results()
    assert [result.row() for result in local] == [
        {"key": "53f61b29d964", "x": "1", "double": 2.0, "helper": "as submitted"},
        {"key": "7506f16aa7ac", "x": "2", "double": 4.0, "helper": "as submitted"},
    ]
    assert [result.config.x for result in local] == [1, 2]
    (slurm,) = Study(studies / "slurm").results()
    assert slurm.metrics == {"score": 0.75, "steps": 400}


def test_what_a_study_declares_is_still_read(studies: Path) -> None:
    record = Study(studies / "slurm").record
    assert (record.scheduler, record.cluster) == ("slurm", "l40s")
    assert record.report == "experiments.report:write"
    assert record.environment == {"SLURM_CONF": "/etc/slurm/slurm.conf"}
    assert [entry.name for entry in record.unwanted] == ["trainer.seed=9"]
    assert record.runs[0].requires == {"encoder": record.prerequisites[0].key}
    assert Path(record.prerequisites[0].run_dir) == studies / "prerequisites" / "eeee00000000"
    assert Path(record.runs[0].run_dir) == studies / "slurm" / "aaaa00000000"


def test_what_a_submission_needs_to_be_sent_again_is_still_read(studies: Path) -> None:
    sent = store.submission(studies / "slurm" / "bbbb00000000")
    assert sent is not None
    assert (sent.number, sent.token, sent.index, sent.is_required) == (2, "222222222abc", 0, False)
    assert (sent.shape.world_size, str(sent.shape)) == (8, "2 x 4 GPU")
    first = store.submissions(studies / "slurm" / "bbbb00000000")[0]
    assert (first.number, first.token, first.index) == (1, "111111111abc", 1)
    assert first.after == ["eeee00000000"]
    assert sent.inputs == {"encoder": str(studies / "prerequisites" / "eeee00000000")}
    assert sent.parameters["gres"] == "gpu:l40s:4"
    assert sent.parameters["setup"] == ["module load cuda"]
    batch = store.batch(studies / "slurm" / "batches" / "111111111abc.json")
    assert batch is not None
    assert [batch.job_id(i) for i in range(4)] == ["100_0", "100_1", "101_2", None]


def test_a_study_can_be_moved_and_its_finished_runs_move_with_it(
    studies: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    moved = tmp_path_factory.mktemp("moved") / "local"
    (studies / "local").rename(moved)
    assert states(moved) == LOCAL_STATES
    assert [result.config.x for result in Study(moved).results()] == [1, 2]


@pytest.mark.parametrize("name", sorted(KINDS))
def test_a_record_written_back_says_what_it_said_and_more_only_by_defaults(name: str) -> None:
    written = json.loads((GOLDEN / name).read_text())
    read = json.loads(store.read_record(GOLDEN / name, KINDS[name]).model_dump_json())
    assert {key: read[key] for key in written} == written


@pytest.mark.parametrize("name", sorted(KINDS))
def test_fields_that_a_newer_version_added_are_kept(name: str, studies: Path) -> None:
    path = studies / name
    files.write_json(path, _with_news(json.loads(path.read_text())))
    newer = json.loads(path.read_text())
    store.write_record(path, store.read_record(path, KINDS[name]))
    again = json.loads(path.read_text())
    assert again["news"] == {"deep": [1]}
    for inner in ("runs", "prerequisites", "parts"):
        for before, after in zip(newer.get(inner, ()), again.get(inner, ()), strict=True):
            assert after["news"] == before["news"]


def _with_news(content: dict[str, Any]) -> dict[str, Any]:
    nested = {
        name: [{**entry, "news": 1} for entry in content[name]]
        for name in ("runs", "prerequisites", "parts")
        if name in content
    }
    return {**content, **nested, "news": {"deep": [1]}}


def test_a_study_with_fields_of_a_newer_version_is_told_as_before(studies: Path) -> None:
    for path in studies.rglob("*.json"):
        files.write_json(path, {**json.loads(path.read_text()), "news": {"deep": [1]}})
    assert states(studies / "slurm") == SLURM_STATES
    assert states(studies / "local") == LOCAL_STATES


@pytest.mark.parametrize("name", sorted(KINDS))
def test_a_record_of_the_next_version_is_refused_and_says_so(name: str, studies: Path) -> None:
    path = studies / name
    files.write_json(path, {**json.loads(path.read_text()), "schema_version": 2})
    with pytest.raises(StoreError) as raised:
        store.read_record(path, KINDS[name])
    assert f"`{path}` has version 2, this program reads 1" in raised.value.message
    assert "newer version" in (raised.value.hint or "")


@damages
@pytest.mark.parametrize("name", sorted(KINDS))
def test_a_damaged_record_is_named(name: str, damage: str, studies: Path) -> None:
    path = studies / name
    do_damage(path, damage)
    with pytest.raises(StoreError) as raised:
        store.read_record(path, KINDS[name])
    assert f"`{path}` is damaged" in raised.value.message
    assert raised.value.hint


@pytest.mark.parametrize("damage", sorted({*DAMAGE} - {"a_list", "null"}))
def test_damaged_progress_is_named(damage: str, studies: Path) -> None:
    path = studies / "slurm" / "bbbb00000000" / "progress.json"
    do_damage(path, damage)
    with pytest.raises(StoreError) as raised:
        store.progress(path.parent)
    assert f"`{path}` is damaged" in raised.value.message


DAMAGED_RUNS = [
    ("trainer.seed=0", "aaaa00000000/submissions/001/submission.json"),
    ("trainer.seed=0", "aaaa00000000/attempts/001-001.json"),
    ("trainer.seed=0", "aaaa00000000/attempts/001-000.json"),
    ("trainer.seed=1", "bbbb00000000/submissions/002/submission.json"),
    ("trainer.seed=1", "bbbb00000000/progress.json"),
    ("trainer.seed=2", "cccc00000000/cancelled.json"),
    ("encoder eeee00", "../prerequisites/eeee00000000/attempts/001-000.json"),
    ("encoder eeee00", "../prerequisites/eeee00000000/submissions/001/submission.json"),
]


@pytest.mark.parametrize(("name", "file"), DAMAGED_RUNS)
@pytest.mark.parametrize("damage", ["truncated", "garbage"])
def test_a_run_with_a_damaged_record_is_unknown_and_the_others_are_told(
    name: str, file: str, damage: str, studies: Path
) -> None:
    study = studies / "slurm"
    do_damage(study / file, damage)
    assert states(study) == {**SLURM_STATES, name: "unknown"}
    reason = one(study, name).reason
    assert "is damaged" in reason
    assert Path(file).name in reason


@pytest.mark.parametrize("damage", ["truncated", "garbage", "deleted"])
def test_without_their_batch_runs_are_known_by_their_attempts_and_unknown_without_any(
    damage: str, studies: Path
) -> None:
    study = studies / "slurm"
    for batch in ("111111111abc", "222222222abc"):
        path = study / "batches" / f"{batch}.json"
        if damage == "deleted":
            path.unlink()
        else:
            do_damage(path, damage)
    unknown = {"trainer.seed=2": "unknown", "trainer.seed=3": "unknown"}
    assert states(study) == {**SLURM_STATES, **unknown}
    assert "111111111abc.json" in one(study, "trainer.seed=3").reason


def test_a_run_with_a_record_of_the_next_version_is_unknown_and_the_others_are_told(
    studies: Path,
) -> None:
    path = studies / "slurm" / "aaaa00000000" / "attempts" / "001-001.json"
    files.write_json(path, {**json.loads(path.read_text()), "schema_version": 2})
    assert states(studies / "slurm") == {**SLURM_STATES, "trainer.seed=0": "unknown"}
    assert "has version 2" in one(studies / "slurm", "trainer.seed=0").reason


def test_a_run_with_a_record_that_cannot_be_read_is_unknown_and_the_others_are_told(
    studies: Path,
) -> None:
    path = studies / "slurm" / "aaaa00000000" / "attempts" / "001-001.json"
    path.unlink()
    path.mkdir()
    assert states(studies / "slurm") == {**SLURM_STATES, "trainer.seed=0": "unknown"}


def test_a_run_that_has_started_is_not_taken_for_unsent_when_its_batch_is_deleted(
    studies: Path,
) -> None:
    """To delete it is what the message about a damaged batch proposes."""
    (studies / "slurm" / "batches" / "222222222abc.json").unlink()
    assert one(studies / "slurm", "trainer.seed=1").state != "held"


@damages
def test_a_damaged_study_is_refused_by_name(damage: str, studies: Path) -> None:
    do_damage(studies / "slurm" / "study.json", damage)
    with pytest.raises(StoreError, match=r"study.json` is damaged"):
        Study(studies / "slurm").status()


class AnotherScheduler:
    """One that these runs were not sent to."""

    def owns(self, sent: SubmissionRecord) -> bool:
        return False

    def watch(self, key: str, job_id: str) -> None:
        raise AssertionError("it is not asked")

    def poll(self) -> dict[str, Any]:
        return {}


def test_a_study_is_told_also_where_its_scheduler_is_another_one(studies: Path) -> None:
    found, _ = remembered_status(Study(studies / "slurm"), AnotherScheduler())
    told = {status.name: status.state for status in found}
    assert told["trainer.seed=0"] == "completed"
    assert told["trainer.seed=1"] == "unknown"


def test_a_run_whose_folder_somebody_deleted_is_new(studies: Path) -> None:
    shutil.rmtree(studies / "slurm" / "aaaa00000000")
    shutil.rmtree(studies / "local" / "2")
    assert states(studies / "slurm") == {**SLURM_STATES, "trainer.seed=0": "new"}
    assert states(studies / "local") == {**LOCAL_STATES, "x=3": "new"}
    assert [result.name for result in Study(studies / "slurm").results()] == []


def test_a_prerequisite_whose_folder_somebody_deleted_is_new(studies: Path) -> None:
    shutil.rmtree(studies / "prerequisites")
    assert states(studies / "slurm") == {**SLURM_STATES, "encoder eeee00": "new"}


def test_a_folder_copied_from_another_run_is_not_taken_for_this_one(studies: Path) -> None:
    study = studies / "slurm"
    shutil.copytree(study / "aaaa00000000", study / "ffff00000000")
    assert states(study) == SLURM_STATES
    assert len(Study(study).results()) == 1
    shutil.rmtree(study / "bbbb00000000")
    shutil.copytree(study / "aaaa00000000", study / "bbbb00000000")
    assert states(study) == {**SLURM_STATES, "trainer.seed=1": "new"}


def test_files_of_others_in_the_folder_of_a_run_disturb_nothing(studies: Path) -> None:
    run = studies / "slurm" / "aaaa00000000"
    for name in (".001-001.json.77.ab12cd34", "notes.txt", "001-001.returned.pkl.bak"):
        (run / "attempts" / name).write_text("{")
    (run / "submissions" / "backup").mkdir()
    (run / "submissions" / ".nfs0001").write_text("")
    assert states(studies / "slurm") == SLURM_STATES


def test_no_path_of_the_machine_that_wrote_them_is_in_the_golden_studies() -> None:
    for path in GOLDEN.rglob("*.json"):
        for found in re.findall(r'"(/[^"]*)"', path.read_text()):
            assert found.startswith(("/studies/", "/project/", "/etc/slurm/")), path
