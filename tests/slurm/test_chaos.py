"""Each fault of the matrix ends as the contract says; a part by default, all with `-m nightly`."""

import sys

import pytest

from tests.slurm.chaos.judge import problems
from tests.slurm.chaos.launchers import OURS
from tests.slurm.chaos.matrix import Case, cases, impossible, run_matrix
from tests.slurm.chaos.run import Result

PARALLEL = 2
"""Cases at once: most of their time they wait for SLURM."""


def _parameters() -> list["pytest.ParameterSet"]:
    third = {str(case) for case in cases([OURS], third=True)}
    possible = [
        pytest.param(
            case,
            id=f"{case.fault.name}-{case.ranks}",
            marks=[] if str(case) in third else [pytest.mark.nightly],
        )
        for case in cases([OURS])
    ]
    cannot = [
        pytest.param(None, id=f"{fault.name}-{ranks}", marks=pytest.mark.skip(reason=why))
        for fault, ranks, why in impossible()
    ]
    return possible + cannot


@pytest.fixture(scope="module", name="results")
def _results(permit_slurm: None, request: pytest.FixtureRequest) -> dict[str, Result]:
    """Results of all cases that were selected: together, for a lab takes several at once."""
    wanted = [
        item.callspec.params["case"]
        for item in request.session.items
        if item.path == request.path and hasattr(item, "callspec") and item.callspec.params["case"]
    ]
    found = run_matrix(wanted, lambda text: sys.stderr.write(f"{text}\n"), PARALLEL)
    return {str(case): result for case, result in zip(wanted, found, strict=True)}


@pytest.mark.parametrize("case", _parameters())
def test_a_fault_costs_no_more_than_promised(case: Case, results: dict[str, Result]) -> None:
    result = results[str(case)]
    assert problems(case.fault, result) == [], "\n".join([*result.evidence, result.log])
