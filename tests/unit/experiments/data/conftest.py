"""One small world for all tests of data and scoring; tests that damage it work on copies."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.data import Splits, datasets
from experiments.settings import DataConfig
from tests.unit.experiments.data.worlds import copy_logs, small_config


@pytest.fixture(scope="session")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> DataConfig:
    return small_config(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def splits(small_world: DataConfig) -> Splits:
    return datasets(small_world)


@pytest.fixture
def recorded(small_world: DataConfig, tmp_path: Path) -> DataConfig:
    """Two logs of the small world in a folder of their own, read as recorded data."""
    return copy_logs(small_world, tmp_path / "recorded")
