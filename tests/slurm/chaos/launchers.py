"""The launchers that are put to the test, and how each is asked for a shape."""

from dataclasses import dataclass
from pathlib import Path

PERIOD_STEPS = 10
"""Periodic checkpoints are so far apart."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """What a run asks of the cluster."""

    ranks: int
    nodes: tuple[str, ...] = ()
    """Nodes that it is bound to; empty where SLURM may choose."""

    timeout_min: int = 10
    lead_s: int = 60
    """How long before the time limit the signal is asked for."""

    mem_mb: int = 3000
    """Memory of each node."""

    partition: str = "gpu"

    @property
    def num_nodes(self) -> int:
        """One rank lives on one node, four on two."""
        return 2 if self.ranks > 1 else 1

    @property
    def ranks_per_node(self) -> int:
        """Ranks on each node."""
        return self.ranks // self.num_nodes


@dataclass(frozen=True, kw_only=True, slots=True)
class Launcher:
    """One way to start the chaos project."""

    name: str
    about: str
    overrides: tuple[str, ...]
    is_ours: bool

    def ask_for(self, shape: Shape) -> list[str]:
        """Overrides for a shape."""
        words = _ask_ours(shape) if self.is_ours else _ask_stock(shape)
        if shape.nodes:
            nodes = ",".join(shape.nodes)
            words.append(f"+hydra.launcher.additional_parameters.nodelist='{nodes}'")
        return [*self.overrides, *words]

    def checkpoints(self, run_dir: Path) -> list[Path]:
        """Checkpoints that the next life may go on from, oldest first."""
        if self.is_ours:
            return sorted(run_dir.glob("checkpoints/resume/*/step-*.ckpt"))
        found = run_dir.glob("checkpoints/last*.ckpt")
        return sorted(found, key=lambda path: path.stat().st_mtime)


OURS = Launcher(
    name="ours",
    about="hydra/launcher=slurm",
    overrides=(
        "hydra/launcher=slurm",
        "hydra.launcher.cluster.accelerator=cpu",
        f"hydra.launcher.recovery.checkpoint_every_steps={PERIOD_STEPS}",
    ),
    is_ours=True,
)
STOCK = Launcher(
    name="stock",
    about="hydra/launcher=submitit_slurm, max_num_timeout=3, ModelCheckpoint(save_last)",
    overrides=("hydra/launcher=submitit_slurm", "hydra.launcher.max_num_timeout=3"),
    is_ours=False,
)
STOCK_LAST = Launcher(
    name="stock+last",
    about="the same, and fit(ckpt_path='last') in the program",
    overrides=(*STOCK.overrides, "ckpt_path=last"),
    is_ours=False,
)
LAUNCHERS = {launcher.name: launcher for launcher in (OURS, STOCK, STOCK_LAST)}


def _ask_ours(shape: Shape) -> list[str]:
    return [
        f"hydra.launcher.resources.nodes={shape.num_nodes}",
        f"hydra.launcher.resources.gpus_per_node={shape.ranks_per_node if shape.ranks > 1 else 0}",
        f"hydra.launcher.resources.timeout_min={shape.timeout_min}",
        f"hydra.launcher.resources.mem_gb={shape.mem_mb / 1024}",
        f"hydra.launcher.signal_delay_s={shape.lead_s}",
        f"hydra.launcher.partition={shape.partition}",
    ]


def _ask_stock(shape: Shape) -> list[str]:
    gpus = [f"hydra.launcher.gpus_per_node={shape.ranks_per_node}"] if shape.ranks > 1 else []
    return [
        f"hydra.launcher.nodes={shape.num_nodes}",
        f"hydra.launcher.tasks_per_node={shape.ranks_per_node}",
        f"hydra.launcher.timeout_min={shape.timeout_min}",
        f"+hydra.launcher.additional_parameters.mem={shape.mem_mb}M",
        f"hydra.launcher.signal_delay_s={shape.lead_s}",
        f"hydra.launcher.partition={shape.partition}",
        *gpus,
    ]
