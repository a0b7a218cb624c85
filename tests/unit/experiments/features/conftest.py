"""One small world, one encoder with weights of a file, one thread."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from experiments.data import prepare
from experiments.settings import DataConfig
from tests.unit.experiments.data.worlds import small_config
from tests.unit.experiments.features.stored_runs import save_encoder


@pytest.fixture(scope="session")
def feature_world(tmp_path_factory: pytest.TempPathFactory) -> DataConfig:
    config = small_config(tmp_path_factory.mktemp("features"))
    prepare(config)
    return config


@pytest.fixture(scope="session")
def encoder_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encoder(tmp_path_factory.mktemp("encoder") / "encoder.pth.tar", seed=0)


@pytest.fixture(autouse=True)
def _one_seeded_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)
