"""A project of the common Hydra and Lightning layout goes to SLURM by one override."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.programs import REPOSITORY
from tests.slurm import Lab
from tests.slurm.sweeps import job_ids, launch, start

TEMPLATE = REPOSITORY / "tests" / "projects" / "template"
TRAIN = ("src/train.py", "-m", "hydra/launcher=slurm")


@pytest.fixture
def foreign(lab: Lab, request: pytest.FixtureRequest) -> Path:
    folder = lab.make_folder(f"foreign-{request.node.name[:24]}")
    lab.run(["cp", "-r", f"{TEMPLATE}/.", folder])
    return folder


def study_of(project: Path) -> Path:
    """Folder of the only sweep, in the project's own layout."""
    (study,) = project.glob("logs/train/multiruns/*")
    return study


def states(lab: Lab, study: Path) -> dict[str, str]:
    """State of each run in SLURM's accounts, once all have ended."""
    ids = job_ids(study)
    lab.wait(list(ids.values()))
    return {name: lab.sacct(job)[0]["State"] for name, job in ids.items()}


def status(lab: Lab, project: Path, word: str) -> list[dict[str, Any]]:
    done = launch(lab, project, "status", word, "--json")
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def test_a_foreign_project_that_is_edited_while_queued_trains_what_was_submitted(
    lab: Lab, foreign: Path
) -> None:
    gate = foreign / "gate"
    done = start(
        lab, foreign, *TRAIN, "hydra.launcher.array_parallelism=1",
        "model.optimizer.lr=0.1,0.05", f"data.ready_file={gate}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "2 runs: 2 new; 2 to submit" in done.stderr
    come_back = re.search(r"launch status (\S+)", done.stderr)
    assert come_back is not None, done.stderr
    queued = status(lab, foreign, come_back[1])
    assert {row["state"] for row in queued} <= {"pending", "running"}
    assert "pending" in {row["state"] for row in queued}
    for path in [*foreign.glob("src/*/line.py"), foreign / "src" / "instantiators.py"]:
        lab.run(["tee", path], input="raise RuntimeError('edited later')\n")
    lab.run(["tee", foreign / "configs" / "trainer" / "default.yaml"], input="max_epochs: 1\n")
    lab.run(["touch", gate])
    assert set(states(lab, study_of(foreign)).values()) == {"COMPLETED"}
    rows = status(lab, foreign, come_back[1])
    assert [row["state"] for row in rows] == ["completed", "completed"]
    shown = [[row["progress"][name] for name in ("step", "total_steps", "epoch")] for row in rows]
    assert shown == [[12, 12, 3]] * 2


def test_a_foreign_model_that_raises_is_failed_for_slurm_and_its_neighbour_completes(
    lab: Lab, foreign: Path
) -> None:
    done = start(lab, foreign, *TRAIN, "hydra.launcher.wait=true", "experiment=steady,unstable")
    assert done.returncode == 1
    assert "FloatingPointError: the loss is inf in step" in done.stderr
    study = study_of(foreign)
    assert states(lab, study) == {
        "experiment=steady": "COMPLETED", "experiment=unstable": "FAILED",
    }  # fmt: skip
    assert lab.sacct(job_ids(study)["experiment=unstable"])[0]["ExitCode"] == "1:0"
    log = (study / "1" / "train.log").read_text().rstrip()
    assert "FloatingPointError: the loss is inf in step" in log.splitlines()[-1]
    assert list((study / "0" / "checkpoints").glob("*.ckpt"))


def test_a_dry_run_of_a_foreign_project_sends_nothing_and_leaves_no_file(
    lab: Lab, foreign: Path
) -> None:
    before, jobs = sorted(foreign.rglob("*")), len(lab.squeue())
    done = start(lab, foreign, *TRAIN, "experiment=steady,unstable", "hydra.launcher.dry_run=true")
    assert done.returncode == 0, done.stderr
    assert "2 runs: 2 new; 2 to submit" in done.stdout
    assert [p for p in sorted(foreign.rglob("*")) if "__pycache__" not in str(p)] == [
        p for p in before if "__pycache__" not in str(p)
    ]
    assert len(lab.squeue()) == jobs
