"""DDP is built on the stream that training runs on, where a project does not say otherwise."""

from typing import Any

import pytest
import torch
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy
from torch import nn

from launcher.callbacks import streams
from launcher.callbacks.streams import OneStream


class FakeTrainer:
    def __init__(self, strategy: Any) -> None:
        self.strategy = strategy


class FakeDDP:
    def __init__(self, **arguments: Any) -> None:
        self.arguments = arguments


def set_up(strategy: Any) -> Any:
    OneStream().setup(FakeTrainer(strategy), nn.Module(), "fit")  # type: ignore[arg-type]
    return strategy


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_stream(*_: Any) -> Any:
        pytest.fail("another stream")

    monkeypatch.setattr(torch.cuda, "Stream", no_stream)
    monkeypatch.setattr(streams, "DistributedDataParallel", FakeDDP)
    monkeypatch.setattr(DDPStrategy, "determine_ddp_device_ids", lambda _: [1])


def test_ddp_is_built_with_all_that_the_strategy_was_given(two_gpus: None) -> None:
    model = nn.Linear(1, 1)
    built = set_up(DDPStrategy(bucket_cap_mb=7))._setup_model(model)
    assert built.arguments == {"module": model, "device_ids": [1], "bucket_cap_mb": 7}


def test_a_strategy_with_a_way_of_its_own_keeps_it(two_gpus: None) -> None:
    class Own(DDPStrategy):
        def _setup_model(self, model: nn.Module) -> Any:
            return "own"

    assert set_up(Own())._setup_model(nn.Linear(1, 1)) == "own"


def test_a_training_on_one_device_is_left_alone() -> None:
    strategy = SingleDeviceStrategy("cpu")
    assert vars(set_up(strategy)).get("_setup_model") is None
