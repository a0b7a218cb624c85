"""Runs cases of the memory project on a lab and reads what they took."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import OmegaConf

from launcher import measures
from launcher.estimates.memory import Budget, MemoryModel, Needs, fit
from launcher.measures import Measure
from tests.programs import REPOSITORY
from tests.slurm import Lab, LabError, sweeps

from .cases import Case

PROJECT = REPOSITORY / "tests" / "projects" / "memory"
ROW_GB = 4096 / 2**30
"""Of the index, as `eater.needs` declares it."""


@dataclass(frozen=True, kw_only=True)
class Taken:
    """How a case went."""

    case: Case
    outcome: str
    peak_gb: float | None
    """Most that the job held, without file pages; None if it ended before anyone looked."""
    log: str


class Bench:
    """A copy of the project on a lab."""

    def __init__(self, lab: Lab, name: str = "memory") -> None:
        self._lab = lab
        self._folder = lab.make_folder(name)
        lab.run(["cp", "-r", f"{PROJECT}/.", self._folder])
        lab.run(["mkdir", "-p", self._folder / "conf" / "case"])

    def run(self, cases: Sequence[Case], study: str, profiles: str) -> list[Taken]:
        """Send cases as one study and wait for all of them.

        Args:
            cases: What to run, each with its limit.
            study: Name of its folder.
            profiles: Folder in which what they take is remembered.
        """
        done = self._send(cases, study, profiles)
        if done.returncode not in (0, 1):
            raise LabError(f"`{study}` was not sent", where=done.stdout + done.stderr)
        folder = self._folder / "outputs" / study
        return [self._taken(case, folder, number) for number, case in enumerate(cases)]

    def is_refused(self, cases: Sequence[Case], study: str, profiles: str) -> bool:
        """Whether cases are not sent, because of the memory of nodes."""
        done = self._send(cases, study, profiles)
        return done.returncode == 2 and "a node needs" in done.stderr

    def _send(
        self, cases: Sequence[Case], study: str, profiles: str
    ) -> subprocess.CompletedProcess[str]:
        for case in cases:
            text = f"# @package _global_\n{json.dumps(case.config())}\n"
            self._lab.run(["tee", self._folder / "conf" / "case" / f"{case.name}.yaml"], input=text)
        return sweeps.start(
            self._lab, self._folder, "app.py", "-m", "hydra/launcher=slurm",
            f"hydra.sweep.dir=outputs/{study}", f"hydra.launcher.profiles_dir=outputs/{profiles}",
            "hydra.launcher.cluster.accelerator=cpu", "hydra.launcher.wait=true",
            "hydra.launcher.recovery.max_attempts=1",
            f"+case={','.join(case.name for case in cases)}",
        )  # fmt: skip

    def model(self, profiles: str) -> MemoryModel:
        """What the runs of a profile taught."""
        (profile,) = (self._folder / "outputs" / profiles).iterdir()
        model = fit(measures.remembered(profile), _declared)
        assert model is not None
        return model

    def _taken(self, case: Case, study: Path, number: int) -> Taken:
        found = measures.of_run(study / str(number))
        logs = sorted(study.glob(f".submitit/*_{number}_*.out"))
        return Taken(
            case=case,
            outcome=str(found[-1].outcome) if found else "unknown",
            peak_gb=_peak_gb(found[-1]) if found else None,
            log="\n".join(path.read_text(errors="replace")[-2000:] for path in logs),
        )


def _peak_gb(measure: Measure) -> float | None:
    """Most that the kernel counted, less file pages."""
    seen = measure.node_gb()
    return None if seen is None else seen + measure.missed_gb


def predict(model: MemoryModel, case: Case) -> Budget:
    """What a case is predicted to need."""
    return model.predict(case.ranks, case.loaders, case.micro_batch_size, needs=needs_of(case))


def needs_of(case: Case) -> Needs:
    """What the project declares for a case."""
    if not case.is_private:
        return Needs()
    index_gb = case.index_samples * ROW_GB
    return Needs(per_rank_gb={"index": index_gb}, per_worker_gb={"index": index_gb})


def _declared(measure: Measure) -> Needs:
    # Those that calibrate declare nothing.
    config = OmegaConf.load(measure.run_dir / "submissions" / "001" / "config.yaml")
    assert config.data.index == "mapped"
    return Needs()
