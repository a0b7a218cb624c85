"""Which tests go to which worker where several run (`pytest -n`), and examples without a clock."""

from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# What a busy machine takes for an example says nothing of the code.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep files together, for what their tests share, and all clusters in one worker.

    Two clusters on few cores lose nodes, which then look dead to their scheduler.
    """
    from xdist.scheduler import LoadFileScheduling

    class ClustersTogether(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            return "clusters" if file.startswith("tests/slurm/") else file

    return ClustersTogether(config, log)
