"""Hydra's own test suites for launchers, as they are started here and on SLURM."""

from pathlib import Path

import pytest
from hydra.test_utils.launcher_common_tests import IntegrationTestSuite
from omegaconf import DictConfig

QUIET = ["hydra/hydra_logging=disabled", "hydra/job_logging=disabled"]

# Hydra says it of each program that does not set version_base, as the suites' do not.
SILENT = pytest.mark.filterwarnings("ignore:Future Hydra versions will no longer change working")


class Integration(IntegrationTestSuite):
    """Hydra's suite for whole programs."""

    def test_to_absolute_path_multirun(
        self, tmpdir: Path, task_launcher_cfg: DictConfig, extra_flags: list[str]
    ) -> None:
        # It edits its program and issues the same command again, whose run we would keep.
        flags = [*extra_flags, "hydra.launcher.force=true"]
        super().test_to_absolute_path_multirun(tmpdir, task_launcher_cfg, flags)
