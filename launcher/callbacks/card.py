"""What a rank takes of its GPU: memory as torch counts it, work and power as the driver tells."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch

log = logging.getLogger("launcher.telemetry")
GB = 2**30


class Card:
    """The GPU of a rank, looked at from another thread about once a second.

    torch keeps one peak for all time, which we do not reset: it belongs to the task. So a phase
    gets that peak if it rose during the phase, else the most that was seen at a look.
    """

    def __init__(self, device: torch.device, is_timed: Callable[[], bool]) -> None:
        """Look at `device`; utilization and power count while `is_timed`."""
        properties = torch.cuda.get_device_properties(device)
        self.name: str = properties.name
        self.mem_gb = round(properties.total_memory / GB, 2)
        self._device = device
        self._is_timed = is_timed
        self._handle = _handle(str(getattr(properties, "uuid", "")))
        self._peaks = (0, 0)
        self._busy = Mean()
        self._power_w = Mean()

    def look(self) -> tuple[float, float]:
        """Allocated and reserved memory [GB], as the phase is to be told."""
        stats = torch.cuda.memory_stats(self._device)
        peaks = (stats["allocated_bytes.all.peak"], stats["reserved_bytes.all.peak"])
        now = (stats["allocated_bytes.all.current"], stats["reserved_bytes.all.current"])
        said = [
            peak if peak > before else current
            for peak, before, current in zip(peaks, self._peaks, now, strict=True)
        ]
        self._peaks = peaks
        self._ask_the_driver()
        return said[0] / GB, said[1] / GB

    def _ask_the_driver(self) -> None:
        if self._handle is None or not self._is_timed():
            return
        import pynvml

        # Either may not be supported, as for a slice of a GPU.
        with suppress(pynvml.NVMLError):
            self._busy.add(pynvml.nvmlDeviceGetUtilizationRates(self._handle).gpu / 100)
        with suppress(pynvml.NVMLError):
            self._power_w.add(pynvml.nvmlDeviceGetPowerUsage(self._handle) / 1000)

    @property
    def utilization(self) -> float | None:
        """Mean utilization of the looks, from 0 to 1; None where the driver does not tell."""
        return self._busy.value

    @property
    def power_w(self) -> float | None:
        """Mean power of the looks [W]; None where the driver does not tell."""
        return self._power_w.value


class Mean:
    """Of what was added."""

    def __init__(self) -> None:
        self._sum = 0.0
        self._count = 0

    def add(self, value: float) -> None:
        """Count a value in."""
        self._sum += value
        self._count += 1

    @property
    def value(self) -> float | None:
        """None where nothing was added."""
        return round(self._sum / self._count, 4) if self._count else None


def card_of(device: torch.device, is_timed: Callable[[], bool]) -> Card | None:
    """The GPU that a rank trains on, or None if it trains on another kind of device."""
    return Card(device, is_timed) if device.type == "cuda" else None


def _handle(uuid: str) -> Any:
    """The driver's handle of a GPU, found by what torch and it both call it."""
    try:
        import pynvml

        pynvml.nvmlInit()
        return pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
    except Exception as error:
        # No driver library, another maker, or a slice of a GPU: the rest is measured all the same.
        log.info("utilization and power of the GPU are unknown: %s", error)
        return None
