"""What the driver says of a GPU counts while steps are timed, and where it says something."""

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from launcher.callbacks.card import Card


class NoDriverError(Exception):
    pass


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A driver that tells 50 % and 400 W, and a card of torch."""

    def handle_of(uuid: str) -> str:
        return uuid

    fake = SimpleNamespace(
        NVMLError=NoDriverError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=handle_of,
        nvmlDeviceGetUtilizationRates=lambda _: SimpleNamespace(gpu=50),
        nvmlDeviceGetPowerUsage=lambda _: 400_000,
    )
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    properties = SimpleNamespace(name="H200", total_memory=141 * 2**30, uuid="1")
    names = ("allocated", "reserved")
    stats = {f"{name}_bytes.all.{kind}": 2**30 for name in names for kind in ("peak", "current")}
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    monkeypatch.setattr(torch.cuda, "memory_stats", lambda _: stats)
    return fake


def card(is_timed: Callable[[], bool]) -> Card:
    return Card(torch.device("cuda"), is_timed)


def test_work_and_power_are_means_over_the_timed_steps(driver: SimpleNamespace) -> None:
    timed = iter([False, True, True])
    seen = card(lambda: next(timed))
    seen.look()
    driver.nvmlDeviceGetPowerUsage = lambda _: 500_000
    seen.look()
    driver.nvmlDeviceGetPowerUsage = lambda _: 600_000
    seen.look()
    assert (seen.utilization, seen.power_w) == (0.5, 550.0)


def test_what_the_driver_does_not_tell_is_unknown_and_the_rest_is_not(
    driver: SimpleNamespace,
) -> None:
    def refuse(_: Any) -> Any:
        raise NoDriverError

    driver.nvmlDeviceGetUtilizationRates = refuse
    seen = card(lambda: True)
    assert seen.look() == (1.0, 1.0)
    assert (seen.utilization, seen.power_w) == (None, 400.0)


def test_without_a_driver_memory_is_told_all_the_same(driver: SimpleNamespace) -> None:
    def refuse() -> None:
        raise NoDriverError

    driver.nvmlInit = refuse
    seen = card(lambda: True)
    assert seen.look() == (1.0, 1.0)
    assert (seen.utilization, seen.power_w) == (None, None)
