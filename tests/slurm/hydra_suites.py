"""Hydra's own test suites for launchers, on SLURM: collected by a pytest inside of the lab.

`test_hydra_suites.py` starts that pytest as the lab's ordinary user; by its name this file is
collected by no other. No test of the suites is left out.
"""

import pytest
from hydra.test_utils.launcher_common_tests import (
    BatchedSweeperTestSuite,
    LauncherTestSuite,
)

from tests.suites import QUIET, SILENT, Integration

pytestmark = SILENT

SETTINGS = [
    "hydra.launcher.wait=true",
    "hydra.launcher.poll_s=0.5",
    "hydra.launcher.resources.timeout_min=2",
]


@pytest.mark.parametrize(("launcher_name", "overrides"), [("slurm", SETTINGS)], ids=["slurm"])
class TestLauncher(LauncherTestSuite):
    pass


@pytest.mark.parametrize(
    ("launcher_name", "overrides"),
    [("slurm", [*SETTINGS, "hydra.sweeper.max_batch_size=2"])],
    ids=["slurm"],
)
class TestLauncherInBatches(BatchedSweeperTestSuite):
    pass


@pytest.mark.parametrize(
    ("task_launcher_cfg", "extra_flags"),
    [({}, ["-m", "hydra/launcher=slurm", *SETTINGS, *QUIET])],
    ids=["slurm"],
)
class TestLauncherIntegration(Integration):
    pass
