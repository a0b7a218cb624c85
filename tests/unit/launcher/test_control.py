"""What is said to SLURM, in which order, and what follows when it refuses or is silent."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.errors import SubmissionError
from launcher.scheduler import control
from launcher.scheduler.control import JobControl, RefusedError

Say = Callable[[str], None]


@pytest.fixture
def say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Say:
    """Puts commands of SLURM on the PATH that note what they are told and do as a script says."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(control, "ASK_AGAIN_S", 0.01)

    def script(body: str) -> None:
        for name in ("scontrol", "sacct", "sinfo"):
            path = tmp_path / name
            path.write_text(f'#!/bin/bash\necho "{name} $*" >> {tmp_path}/told\n{body}\n')
            path.chmod(0o755)

    return script


def told(tmp_path: Path) -> list[str]:
    return (tmp_path / "told").read_text().splitlines()


def test_a_job_is_changed_while_it_is_held(say: Say, tmp_path: Path) -> None:
    say("true")
    JobControl(job_id="5_1").change(mem_gb=1.5, exclude=["gl001", "gl002"])
    assert told(tmp_path) == [
        "scontrol requeuehold 5_1",
        "scontrol update JobId=5_1 ExcNodeList=gl001,gl002 MinMemoryNode=1536",
        "scontrol release 5_1",
    ]


def test_a_job_is_released_also_if_its_change_is_refused(say: Say, tmp_path: Path) -> None:
    say('[ "$1" != update ] || { echo "Requested node configuration" >&2; exit 1; }')
    with pytest.raises(RefusedError, match="scontrol update 5: Requested node configuration"):
        JobControl(job_id="5").change(mem_gb=9.0, exclude=[])
    assert told(tmp_path)[-1] == "scontrol release 5"


def test_nothing_is_changed_where_the_job_cannot_be_requeued(say: Say, tmp_path: Path) -> None:
    say('echo "Access/permission denied" >&2; exit 1')
    with pytest.raises(RefusedError):
        JobControl(job_id="5").change(mem_gb=9.0, exclude=[])
    assert told(tmp_path) == ["scontrol requeuehold 5"]


def test_a_slurmctld_that_restarts_is_asked_again(say: Say, tmp_path: Path) -> None:
    say(
        f"[ $(wc -l < {tmp_path}/told) -gt 3 ] || "
        '{ echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1; }'
    )
    JobControl(job_id="5").requeue()
    assert told(tmp_path) == ["scontrol requeue 5"] * 4


def test_one_that_stays_silent_is_given_up(say: Say) -> None:
    say('echo "Unable to contact slurm controller (connect failure)" >&2; exit 1')
    job = JobControl(job_id="5", patience_s=0.05)
    with pytest.raises(SubmissionError, match="connect failure") as silent:
        job.requeue()
    assert not isinstance(silent.value, RefusedError)
    with pytest.raises(SubmissionError, match="connect failure"):
        job.facts()


def test_a_job_that_slurm_has_forgotten_is_none(say: Say) -> None:
    say('echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1')
    assert JobControl(job_id="5").facts() is None


def test_accounts_that_are_off_are_asked_once(say: Say, tmp_path: Path) -> None:
    say('echo "Slurm accounting storage is disabled" >&2; exit 1')
    with pytest.raises(SubmissionError, match="sacct: Slurm accounting storage is disabled"):
        JobControl(job_id="5").account(None, 0)
    assert len(told(tmp_path)) == 1


def test_nodes_that_are_lost_are_told_from_those_that_are_drained(say: Say) -> None:
    say("echo 'gl001|down*'; echo 'gl001|down*'; echo 'gl002|idle'; echo 'gl003|drained'")
    assert JobControl(job_id="5").lost_nodes(["gl001", "gl002", "gl003"]) == ["gl001"]
