"""One study and its page for all tests that only look at them."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.data import Splits
from experiments.reporting import write
from experiments.settings import DataConfig
from launcher.studies import Study
from tests.unit.experiments.data.conftest import small_world, splits
from tests.unit.experiments.reporting.studies import Scenes, write_study

__all__ = ["small_world", "splits"]


@pytest.fixture(scope="session")
def study(
    tmp_path_factory: pytest.TempPathFactory, splits: Splits, small_world: DataConfig
) -> Study:
    folder = tmp_path_factory.mktemp("outputs") / "two-arms"
    return write_study(folder, scenes=Scenes.of(splits, small_world))


@pytest.fixture(scope="session")
def page(study: Study) -> Path:
    return write(study)
