"""What a node needs is predicted from one or two runs, and holds: on a lab with real limits."""

import io
from collections.abc import Iterator

import pytest
from rich.console import Console

from tests.slurm import Lab, LabOptions, temporary_lab
from tests.slurm.memory.cases import CALIBRATIONS, CASES, SHORT
from tests.slurm.memory.command import MEMORY_MB
from tests.slurm.memory.experiment import Result, median_error, run, table


@pytest.fixture(scope="module")
def lab(permit_slurm: None) -> Iterator[Lab]:
    """A node of its own, whose memory is that which is there."""
    options = LabOptions(nodes=1, real_memory_mb=MEMORY_MB, accounting=False)
    with temporary_lab(options) as running:
        yield running


def check(results: list[Result]) -> None:
    said = io.StringIO()
    Console(width=160, file=said).print(table(results))
    shown = said.getvalue()
    assert median_error(results) < 0.10, shown
    assert {r.above.outcome for r in results} == {"completed"}, shown
    assert {r.below.outcome for r in results if r.below is not None} == {"host_oom"}, shown


def test_one_run_predicts_what_fits_and_what_is_killed(lab: Lab) -> None:
    check(run(lab, CALIBRATIONS[:1], SHORT, below=SHORT[:1]))


@pytest.mark.nightly
def test_two_runs_predict_all_cases(lab: Lab) -> None:
    check(run(lab, CALIBRATIONS, CASES, below=CASES))
