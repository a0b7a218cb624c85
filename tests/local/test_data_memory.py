"""The memory of a node does not grow with the index of the data, nor with who reads it."""

from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.data_memory import FEW, NAVTRAIN, compare, render

pytestmark = pytest.mark.local


def test_ranks_and_workers_over_a_thousandfold_index_hold_no_more(tmp_path: Path) -> None:
    wanted = [("columns", FEW), ("columns", NAVTRAIN), ("list", NAVTRAIN)]
    few, many, listed = compare(tmp_path, wanted)
    Console().print(render([few, many, listed]))
    assert many.own_gb <= 1.10 * few.own_gb
    # A copy of the index in each rank alone would be more.
    assert many.private_gb <= 1.05 * few.private_gb
    assert many.data_gb > 0.02, "the index was not read"
    # With scores that are 32 times as small.
    assert listed.own_gb > 1.5 * few.own_gb
