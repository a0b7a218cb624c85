"""Python starts on real nodes through modules, a venv, and an image."""

from __future__ import annotations

import json
import os
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.slurm import Lab, LabOptions, modules, temporary_lab
from tests.slurm.sweeps import job_ids, launch, start
from tests.slurm.test_recovery import PREEMPTED, only, send

PYTHON = "hydra.launcher.cluster.python"
SLURM = ("hydra/launcher=slurm", "hydra.launcher.wait=true", "hydra.sweep.dir=outputs/s")
APP = """
import os, sys, hydra
@hydra.main(version_base="1.3", config_path=None)
def main(config):
    if os.path.exists("broken"):
        raise RuntimeError("broken")
    return {"prefix": sys.prefix, "flavour": os.environ.get("FLAVOUR"),
            "preset": os.environ.get("PRESET"), "image": os.environ.get("APPTAINER_NAME")}
main()
"""
# What a container does that matters here: it has programs of its own, and SLURM's are not there.
APPTAINER = """#!/bin/bash
echo "$*" >> {folder}/asked
shift
while [[ $1 == --* ]]; do case $1 in --nv) shift ;; *) shift 2 ;; esac; done
export APPTAINER_NAME=$(basename "$1") PATH={folder}/inside; shift
exec "$@"
"""


@pytest.fixture(scope="module")
def lab(permit_slurm: None) -> Iterator[Lab]:
    """A small one, in which a preempted job is told so in time."""
    options = LabOptions(nodes=2, accounting=False, preempt_user_signal=True, kill_wait_s=6)
    with temporary_lab(options) as running:
        yield running


@pytest.fixture
def folder(lab: Lab, request: pytest.FixtureRequest) -> Path:
    made = lab.make_folder(f"python-{request.node.name[:30]}")
    lab.run(["tee", made / "app.py"], input=APP)
    return made


def returned(lab: Lab, folder: Path, *overrides: str) -> dict[str, Any]:
    """What the only run of a study returned."""
    done = start(lab, folder, "app.py", "-m", *SLURM, *overrides)
    assert done.returncode == 0, log_of(folder)
    (path,) = folder.glob("outputs/s/0/attempts/001-000.json")
    result: dict[str, Any] = json.loads(path.read_text())["result"]
    return result


def log_of(folder: Path) -> str:
    (log,) = folder.glob("outputs/s/.submitit/*_0_log.out")
    return log.read_text()


def module_lines(lab: Lab, folder: Path, package: str, *names: str) -> list[str]:
    """Overrides that load modules of the test's own through one of the two systems."""
    if package in modules.missing():
        if os.environ.get("REQUIRE_SLURM") == "1":
            pytest.fail(f"{package} is not there; hint: python -m tests.slurm install")
        pytest.skip(f"{package} is not there; hint: python -m tests.slurm install")
    files = folder / "modulefiles" / "flavour"
    lab.run(["mkdir", "-p", files])
    lab.run(["tee", files / "1.2"], input="#%Module1.0\nsetenv FLAVOUR sweet\n")
    return [
        f"{PYTHON}.module_init={modules.INIT_FILES[package]}",
        f"{PYTHON}.modules=[{','.join(names)}]",
        f"hydra.launcher.cluster.setup=['export MODULEPATH={files.parent}']",
    ]


@pytest.mark.parametrize("package", sorted(modules.INIT_FILES))
def test_a_job_has_the_modules_that_the_profile_names(lab: Lab, folder: Path, package: str) -> None:
    found = returned(lab, folder, *module_lines(lab, folder, package, "flavour/1.2"))
    assert found["flavour"] == "sweet"


@pytest.mark.parametrize("package", sorted(modules.INIT_FILES))
def test_a_module_that_is_not_there_fails_the_job_before_python_starts(
    lab: Lab, folder: Path, package: str
) -> None:
    lines = module_lines(lab, folder, package, "flavour/9.9")
    done = start(lab, folder, "app.py", "-m", *SLURM, *lines)
    assert done.returncode == 1, done.stderr
    last = log_of(folder).strip().splitlines()[-1]
    assert last == "launcher: `module load flavour/9.9` failed on this node"
    assert not list(folder.glob("outputs/s/0/attempts/001-000.json"))


def test_a_job_runs_in_the_venv_of_the_profile_with_the_presets_of_its_gpus(
    lab: Lab, folder: Path
) -> None:
    venv = folder / "venv"
    lab.run([sys.executable, "-m", "venv", "--without-pip", venv])
    (site,) = lab.run(["find", venv, "-name", "site-packages"]).stdout.split()
    ours = sysconfig.get_path("purelib")
    lab.run(["tee", f"{site}/ours.pth"], input=f"import site; site.addsitedir({ours!r})\n")
    found = returned(
        lab, folder,
        f"{PYTHON}.kind=venv", f"{PYTHON}.path={venv}",
        "+hydra.launcher.cluster.job_environment={all:{PRESET:general},l40s:{PRESET:special}}",
        "hydra.launcher.cluster.gpu_type=l40s", "hydra.launcher.resources.gpus=1",
        "hydra.launcher.cluster.accelerator=cpu",
    )  # fmt: skip
    assert (found["prefix"], found["preset"]) == (str(venv), "special")


def image(lab: Lab, folder: Path) -> list[str]:
    """Overrides that start ranks in a stand-in for a container."""
    lab.run(["mkdir", "-p", folder / "bin", folder / "inside"])
    lab.run(["tee", folder / "bin" / "apptainer"], input=APPTAINER.format(folder=folder))
    lab.run(["chmod", "755", folder / "bin" / "apptainer"])
    inside = f'#!/bin/bash\nexec {sys.executable} "$@"\n'
    lab.run(["tee", folder / "inside" / "python3"], input=inside)
    lab.run(["chmod", "755", folder / "inside" / "python3"])
    lab.run(["touch", folder / "lab.sif"])
    return [
        f"{PYTHON}.kind=apptainer",
        f"{PYTHON}.path={folder}/lab.sif",
        f"hydra.launcher.cluster.setup=['export PATH={folder}/bin:$PATH']",
    ]


def test_ranks_run_in_the_image_and_see_the_outputs(lab: Lab, folder: Path) -> None:
    found = returned(lab, folder, *image(lab, folder), "hydra.launcher.resources.gpus=2")
    assert found["image"] == "lab.sif"
    asked = (folder / "asked").read_text().splitlines()
    assert len(asked) == 2  # one per rank
    assert asked[0].startswith(f"exec --nv --bind {folder}/outputs {folder}/lab.sif python3 -u -m")
    state = launch(lab, folder, "status", "--json")
    assert [run["state"] for run in json.loads(state.stdout)] == ["completed"]


def test_a_preempted_run_in_an_image_is_concluded_by_the_guard_and_goes_on(lab: Lab) -> None:
    name = "preempted-image"
    lines = image(lab, lab.make_folder(name))
    low = "hydra.launcher.cluster.partition=preempt"
    case = send(lab, name, *PREEMPTED, *lines, low, only(lab, "gl001"), "steps=60")
    case.wait_until_step(2)
    lab.run(["sbatch", "--nodelist=gl001", "--gres=gpu:4", "--wrap=sleep 3"])
    assert case.wait() == "COMPLETED"
    (verdict,) = case.verdicts()
    assert (verdict["outcome"], verdict["action"]) == ("preempted", "requeue")
    assert verdict["by"] == "guard"
    assert case.lives() == ["001-000", "001-001"]


def test_what_is_sent_again_starts_in_the_image_again(lab: Lab, folder: Path) -> None:
    lines = image(lab, folder)
    lab.run(["touch", folder / "broken"])
    done = start(lab, folder, "app.py", "-m", *SLURM, *lines)
    assert "RuntimeError: broken" in done.stderr
    lab.run(["rm", folder / "broken"])
    done = launch(lab, folder, "retry", "--failed")
    assert done.returncode == 0, done.stderr
    (job,) = job_ids(folder / "outputs" / "s").values()
    lab.wait(job)
    state = launch(lab, folder, "status", "--json")
    assert [run["state"] for run in json.loads(state.stdout)] == ["completed"]
    first, second = (folder / "asked").read_text().splitlines()
    assert first.partition(" -u ")[0] == second.partition(" -u ")[0]
