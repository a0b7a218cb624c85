"""Hydra's own suites for launchers, in a process of their own: see hydra_suites.py."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.local

SUITES = Path(__file__).with_name("hydra_suites.py")
TESTS = 3 + 2 * (9 + 1 + 11)
"""Discovery; then for `local` and `debug` the suites for launchers, for batches, for programs."""


def test_hydras_suites_pass_for_the_local_and_the_debug_launcher(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, f"--basetemp={tmp_path / 'suites'}", str(SUITES)],
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{TESTS} passed" in done.stdout
