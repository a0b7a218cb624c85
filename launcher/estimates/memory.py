"""Whether a run fits into the memory of its nodes and GPUs, as measured runs say.

`host_memory` and `gpu_memory` answer for a run; `fit` gives the model behind the first.
"""

from __future__ import annotations

from launcher.estimates.answers import MemoryAnswer, gpu_memory, host_memory
from launcher.estimates.budget import Budget, Row
from launcher.estimates.gpu import GpuModel, fit_gpu
from launcher.estimates.loaders import Loaders, loaders_of
from launcher.estimates.model import MemoryModel, fit
from launcher.estimates.needs import Needs
from launcher.estimates.ranks import Wanted
from launcher.estimates.ways_out import proposals

__all__ = [
    "Budget",
    "GpuModel",
    "Loaders",
    "MemoryAnswer",
    "MemoryModel",
    "Needs",
    "Row",
    "Wanted",
    "fit",
    "fit_gpu",
    "gpu_memory",
    "host_memory",
    "loaders_of",
    "proposals",
]
