"""Where the output of a run's job is: files that are named by job and rank."""

from __future__ import annotations

from pathlib import Path

from launcher.states import RunStatus
from launcher.studies import Study


def find(study: Study, run: RunStatus, rank: int = 0) -> Path | None:
    """File with what a rank of a run's latest job wrote, or None while there is none.

    A run of the debug launcher wrote to the terminal; its file is Hydra's own log.
    """
    for path in _candidates(study, run, rank):
        if path.exists():
            return path
    own = sorted(Path(run.run_dir).glob("*.log"), key=lambda path: path.stat().st_mtime)
    return own[-1] if own and run.job_id == "debug" else None


def _candidates(study: Study, run: RunStatus, rank: int) -> list[Path]:
    if not run.job_id:
        return []
    folder = study.path / ".submitit"
    if run.job_id.count("/") == 2:  # host/folder/process of a local job
        _, name, process = run.job_id.split("/")
        folder, stem = folder / name, process
    else:
        stem = run.job_id
    ranks = [folder / f"{stem}_{rank}_log.out", folder / f"{stem}_{rank}_log.err"]
    return [*ranks, folder / "controller.log"] if folder != study.path / ".submitit" else ranks
