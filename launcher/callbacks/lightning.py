"""Trainer arguments and rank environment of a run. The only place where Lightning meets us."""

from __future__ import annotations

import os
import warnings
from typing import Any

import torch
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment

from launcher import watch
from launcher.context import RunContext
from launcher.errors import LauncherError


class RankEnvironment(ClusterEnvironment):
    """Tells Lightning the ranks that the scheduler already started.

    Lightning would guess them from SLURM_* variables, also inside an interactive session, and
    would requeue jobs by itself; with this environment both are settled by the launcher.
    """

    def __init__(self, context: RunContext) -> None:
        self._context = context

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        watch.mark("rendezvous")  # Lightning asks for it once, right before it joins the ranks
        return os.environ["MASTER_ADDR"]

    @property
    def main_port(self) -> int:
        return int(os.environ["MASTER_PORT"])

    @staticmethod
    def detect() -> bool:
        return False

    def world_size(self) -> int:
        return self._context.world_size

    def set_world_size(self, size: int) -> None:
        if size != self._context.world_size:
            raise LauncherError(
                f"the Trainer wants {size} processes, the run has {self._context.world_size}",
                hint="leave devices and num_nodes to `trainer_arguments()`",
            )

    def global_rank(self) -> int:
        return self._context.rank

    def set_global_rank(self, rank: int) -> None:
        if rank != self._context.rank:
            raise LauncherError(f"the Trainer wants rank {rank}, this is {self._context.rank}")

    def local_rank(self) -> int:
        return self._context.local_rank

    def node_rank(self) -> int:
        return self._context.rank // self._context.ranks_per_node


def trainer_arguments(context: RunContext) -> dict[str, Any]:
    """Arguments of the Trainer that are derived, never configured.

    Raises:
        LauncherError: the shape asked for GPUs and this process sees none.
    """
    if context.accelerator == "gpu" and not torch.cuda.is_available():
        raise LauncherError(
            "the run asked for GPUs, but CUDA finds none in this process",
            hint="look at `nvidia-smi` and the driver on this node; CPU is never taken instead",
        )
    # The launcher started the ranks already; the hint would fool readers of every log.
    warnings.filterwarnings("ignore", message="The `srun` command is available on your system")
    return {
        "accelerator": context.accelerator,
        "devices": context.ranks_per_node,
        "num_nodes": context.num_nodes,
        "strategy": "ddp" if context.world_size > 1 else "auto",
        "plugins": [RankEnvironment(context)],
        "default_root_dir": context.run_dir,
        "use_distributed_sampler": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
