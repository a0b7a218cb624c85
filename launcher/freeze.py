"""Freeze what a job will see: code, task function and composed config, at submission."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
from hydra.core.singleton import Singleton
from omegaconf import OmegaConf

from launcher import snapshot, store
from launcher.compose import WantedRun
from launcher.hydra_config import without_hydra
from launcher.job import Attempt, Payload


@dataclass(frozen=True, kw_only=True)
class FrozenCode:
    """The code of a study: snapshot, Python path into it, and the pickled task."""

    sha: str
    commit: str
    python_path: tuple[str, ...]
    payload: Path


def freeze_code(task_function: Callable[..., Any], study_dir: Path) -> FrozenCode:
    """Copy the project's code into the study and pickle the task function."""
    root = snapshot.project_root(_folder_of_main())
    sha, folder = snapshot.take(root, study_dir / "code")
    content = cloudpickle.dumps(
        Payload(task_function=task_function, singletons=Singleton.get_state())
    )
    payload = study_dir / "payload" / f"{hashlib.sha256(content).hexdigest()[:12]}.pkl"
    store.write_bytes(payload, content)
    return FrozenCode(
        sha=sha,
        commit=snapshot.commit(root),
        python_path=tuple(snapshot.search_path(root, folder)),
        payload=payload,
    )


def _folder_of_main() -> Path:
    """Folder of the script that was started, or the current one in an interactive session."""
    file = getattr(sys.modules["__main__"], "__file__", None)
    return Path(file).resolve().parent if file else Path.cwd()


def freeze_config(run: WantedRun, number: int) -> Path:
    """Write the config of a submission for people (YAML) and for the job (pickle)."""
    store.make_private(run.run_dir)
    frozen = run.run_dir / "frozen" / f"{number:03d}"
    readable = OmegaConf.to_yaml(without_hydra(run.config))
    store.write_bytes(frozen / "config.yaml", readable.encode())
    store.write_bytes(frozen / "config.pkl", cloudpickle.dumps(run.config))
    return frozen / "config.pkl"


def freeze_run(run: WantedRun, code: FrozenCode, number: int) -> Attempt:
    """Freeze a run's config and return what a scheduler starts."""
    return Attempt(
        run_dir=str(run.run_dir),
        key=run.key,
        name=run.name,
        number=number,
        payload=str(code.payload),
        config=str(freeze_config(run, number)),
        shape=run.shape,
        accelerator=run.settings.cluster.accelerator if run.shape.gpus_per_node else "cpu",
        inputs={label: str(needed.run_dir) for label, needed in run.requires.items()},
    )
