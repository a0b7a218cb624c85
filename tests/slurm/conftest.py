"""The fixture `lab`: a SLURM cluster for the session, or a skip with the reason.

With REQUIRE_SLURM=1 in the environment there is no skip: where SLURM has to run, a machine on
which it does not is a failure.
"""

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.slurm import Lab, LabOptions, temporary_lab, why_not
from tests.slurm.sweeps import copy_project

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests of this folder."""
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.slurm)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what SLURM says when a test fails that uses a lab."""
    report = yield
    lab = getattr(item, "funcargs", {}).get("lab")
    if report.when == "call" and report.failed and isinstance(lab, Lab):
        report.sections.append(("SLURM lab", lab.describe()))
    return report


@pytest.fixture(scope="session", name="permit_slurm")
def _permit_slurm() -> None:
    """Skip, or fail if a real SLURM is required, where no lab can run."""
    reason = why_not(LabOptions())
    if reason is None:
        return
    if os.environ.get("REQUIRE_SLURM") == "1":
        pytest.fail(f"REQUIRE_SLURM is set, but {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture
def project(lab: Lab, request: pytest.FixtureRequest) -> Path:
    """A copy of the plain project in a folder with a hostile name."""
    return copy_project(lab, f'it\'s a "{request.node.name[:24]}"')


@pytest.fixture(scope="session")
def lab(permit_slurm: None) -> Iterator[Lab]:
    """Run one cluster of four nodes with accounting for all tests of the session."""
    with temporary_lab() as running:
        yield running
