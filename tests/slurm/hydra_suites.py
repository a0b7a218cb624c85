"""Hydra's own test suites for launchers, on SLURM: collected by a pytest inside of the lab.

`test_hydra_suites.py` starts that pytest as the lab's ordinary user; by its name this file is
collected by no other. No test of the suites is left out.
"""

from pathlib import Path

import pytest
from hydra.test_utils.launcher_common_tests import (
    BatchedSweeperTestSuite,
    IntegrationTestSuite,
    LauncherTestSuite,
)
from omegaconf import DictConfig

# Hydra says it of each program that does not set version_base, as the suites' do not.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Future Hydra versions will no longer change working"
)

SETTINGS = [
    "hydra.launcher.wait=true",
    "hydra.launcher.poll_s=0.5",
    "hydra.launcher.resources.timeout_min=2",
]
QUIET = ["hydra/hydra_logging=disabled", "hydra/job_logging=disabled"]


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
class TestLauncherIntegration(IntegrationTestSuite):
    def test_to_absolute_path_multirun(
        self, tmpdir: Path, task_launcher_cfg: DictConfig, extra_flags: list[str]
    ) -> None:
        # It edits its program and issues the same command again, whose run we would keep.
        flags = [*extra_flags, "hydra.launcher.force=true"]
        super().test_to_absolute_path_multirun(tmpdir, task_launcher_cfg, flags)
