"""Most of everything in each phase. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from launcher.records import Phase, PhaseUse
from launcher.telemetry.cgroup import Held
from launcher.telemetry.processes import Family


@dataclass
class Peaks:
    """What was seen so far, by phase in the order in which they were first entered."""

    began_s: float
    phase: Phase = "start"
    changes: int = 0
    """How often the phase changed."""
    _since_s: float = field(init=False)
    _seconds: dict[Phase, float] = field(default_factory=dict)
    _looks: dict[Phase, int] = field(default_factory=dict)
    _most: dict[Phase, dict[str, float]] = field(default_factory=dict)
    _crowds: dict[Phase, dict[int, int]] = field(default_factory=dict)
    """Number of workers -> looks at that many."""

    def __post_init__(self) -> None:
        self._since_s = self.began_s
        self._open(self.phase)

    def _open(self, phase: Phase) -> None:
        self._seconds.setdefault(phase, 0.0)
        self._looks.setdefault(phase, 0)
        self._most.setdefault(phase, {})

    def enter(self, phase: Phase, now_s: float) -> bool:
        """Begin a phase; returns whether it is the first of its kind."""
        is_new = phase not in self._seconds
        self._seconds[self.phase] += max(now_s - self._since_s, 0.0)
        self.changes += phase != self.phase
        self.phase, self._since_s = phase, now_s
        self._open(phase)
        return is_new

    def looks(self, workers: int) -> int:
        """How often processes were looked at in this phase, of looks at so many workers or more."""
        counts = self._crowds.get(self.phase, {})
        return sum(looks for crowd, looks in counts.items() if crowd >= workers)

    def see_node(self, held: Held) -> None:
        """Take in what the job held on this node."""
        self._raise(node_gb=held.kept_gb, node_with_cache_gb=held.with_cache_gb)

    def see_family(self, family: Family) -> None:
        """Take in what the rank and its workers held; the moment counts when all was most."""
        self._looks[self.phase] += 1
        crowds = self._crowds.setdefault(self.phase, {})
        crowds[family.workers] = crowds.get(family.workers, 0) + 1
        most = self._most[self.phase]
        if family.all_gb > most.get("rank_gb", 0.0) + most.get("workers_gb", 0.0):
            most |= {
                "rank_gb": family.rank_gb,
                "workers": family.workers,
                "workers_gb": family.workers_gb,
                "worker_private_gb": family.worker_private_gb,
            }

    def see_gpu(self, allocated_gb: float, reserved_gb: float) -> None:
        """Take in what the rank held on its GPU."""
        self._raise(gpu_gb=allocated_gb, gpu_reserved_gb=reserved_gb)

    def _raise(self, **seen: float) -> None:
        most = self._most[self.phase]
        for name, value in seen.items():
            most[name] = max(value, most.get(name, value))

    def highest_gb(self) -> float:
        """Most host memory that was seen in any phase: of the node, or else of the rank."""
        return max(_host_gb(most) for most in self._most.values())

    def phases(self, now_s: float) -> list[PhaseUse]:
        """Everything so far."""
        open_s = {self.phase: max(now_s - self._since_s, 0.0)}
        return [
            PhaseUse(
                phase=phase,
                seconds=round(seconds + open_s.get(phase, 0.0), 3),
                looks=self._looks[phase],
                **_rounded(self._most[phase]),
            )
            for phase, seconds in self._seconds.items()
        ]


def _host_gb(most: dict[str, float]) -> float:
    return most.get("node_gb", most.get("rank_gb", 0.0) + most.get("workers_gb", 0.0))


def _rounded(most: dict[str, float]) -> dict[str, Any]:
    return {name: v if isinstance(v, int) else round(v, 5) for name, v in most.items()}
