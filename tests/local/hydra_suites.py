"""Hydra's own test suites for launchers, passed by our launchers of this machine; all of them.

Not collected with the other tests: those leave Hydra's globals as no foreign program has them.
They start programs that have no config of ours: Hydra's folders, job numbers, working
directories and return values have to be what they are with Hydra's basic launcher.
"""

import pytest
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.test_utils.launcher_common_tests import (
    BatchedSweeperTestSuite,
    LauncherTestSuite,
)

from tests.suites import QUIET, SILENT, Integration

pytestmark = SILENT

LAUNCHERS = ("local", "debug")


@pytest.mark.parametrize("name", ["SlurmLauncher", "LocalLauncher", "DebugLauncher"])
def test_hydra_discovers_each_launcher(name: str) -> None:
    assert name in [found.__name__ for found in Plugins.instance().discover(Launcher)]


@pytest.mark.parametrize(
    ("launcher_name", "overrides"), [pytest.param(name, [], id=name) for name in LAUNCHERS]
)
class TestLauncher(LauncherTestSuite):
    pass


@pytest.mark.parametrize(
    ("launcher_name", "overrides"),
    [pytest.param(name, ["hydra.sweeper.max_batch_size=2"], id=name) for name in LAUNCHERS],
)
class TestLauncherInBatches(BatchedSweeperTestSuite):
    pass


@pytest.mark.parametrize(
    ("task_launcher_cfg", "extra_flags"),
    [pytest.param({}, ["-m", f"hydra/launcher={name}", *QUIET], id=name) for name in LAUNCHERS],
)
class TestLauncherIntegration(Integration):
    pass
