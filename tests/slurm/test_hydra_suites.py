"""Hydra's own test suites for launchers, with runs that go to a real SLURM."""

import sys

from tests.programs import REPOSITORY
from tests.slurm import Lab

TESTS = 9 + 1 + 11
"""Of the suites for launchers, for sweeps in batches, and for whole programs."""


def test_hydras_suites_for_launchers_pass_for_an_ordinary_user_of_slurm(lab: Lab) -> None:
    folder = lab.make_folder("hydra suites/here")
    command = [
        sys.executable, "-m", "pytest", REPOSITORY / "tests" / "slurm" / "hydra_suites.py",
        "-p", "no:cacheprovider", f"--basetemp={folder.parent / 'pytest'}", "--rootdir", REPOSITORY,
    ]  # fmt: skip
    environment = {"PYTHONDONTWRITEBYTECODE": "1", "LAUNCHER_LAB": str(lab.directory)}
    done = lab.run(command, cwd=folder, env=environment, timeout_s=900, check=False)
    assert done.returncode == 0, done.stdout[-20_000:]
    assert f" {TESTS} passed in " in done.stdout.splitlines()[-1]
