"""Freeze what a job will see: code, task function and composed config, at submission."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path, PurePath
from typing import Any

import cloudpickle
import yaml
from hydra.core.singleton import Singleton
from omegaconf import DictConfig, OmegaConf
from omegaconf._utils import OmegaConfDumper

from launcher import files, identity, snapshot, store
from launcher.compose import WantedRun, as_asked
from launcher.job import Payload
from launcher.records import Place, SubmissionRecord
from launcher.scheduler.base import Job
from launcher.settings import SWITCHES
from launcher.snapshot import Snapshot


@dataclass(frozen=True, kw_only=True)
class FrozenCode:
    """The code of a study: snapshot, Python path into it, and the pickled task."""

    sha: str
    commit: str
    python_path: tuple[str, ...]
    payload: Path


def freeze_code(code: Snapshot, task_function: Callable[..., Any], study_dir: Path) -> FrozenCode:
    """Copy the project's code into the study and pickle the task function."""
    folder = code.write(study_dir / "code")
    content = cloudpickle.dumps(
        Payload(task_function=task_function, singletons=Singleton.get_state())
    )
    payload = study_dir / "payload" / f"{hashlib.sha256(content).hexdigest()[:12]}.pkl"
    files.write_bytes(payload, content)
    return FrozenCode(
        sha=code.sha,
        commit=snapshot.commit(code.root),
        python_path=tuple(snapshot.search_path(code.root, folder)),
        payload=payload,
    )


def config_sha(run: WantedRun) -> str:
    """Hash of the whole config of a run, with the parts that do not count for its key.

    Unresolved: what only the environment says is not part of it.
    """
    return _sha(run, _readable(as_asked(run)))


def _sha(run: WantedRun, asked: dict[str, Any]) -> str:
    # A command with `wait=true` sends the very same run as one without.
    counted = {key: value for key, value in asked.items() if key not in SWITCHES}
    # Where the launcher chose the place, it may choose another one the next time.
    shape = str(run.shape) if run.left_open is None else str(run.left_open)
    return identity.digest([counted, shape, run.shape.timeout_min])


def freeze_config(run: WantedRun, number: int) -> tuple[Path, str]:
    """Write the config of a submission for people (YAML) and for the job (pickle).

    Returns:
        File of the pickle, and the hash of the config.
    """
    files.make_private(run.run_dir)
    folder = store.submission_dir(run.run_dir, number)
    readable = _readable(run.config)
    text = yaml.dump(readable, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)
    files.write_bytes(folder / "config.yaml", text.encode(), durable=False)
    files.write_bytes(folder / "config.pkl", run.pickle, durable=False)
    asked = readable if run.left_open is None else _readable(as_asked(run))
    return folder / "config.pkl", _sha(run, asked)


def freeze_run(run: WantedRun, job: Job, code: FrozenCode, **sending: Any) -> SubmissionRecord:
    """Freeze a run's config; returns the record of its sending, which is not written yet.

    Args:
        run: The run.
        job: What the scheduler will be told.
        code: The frozen code.
        sending: `number`, `token`, `index`, `batch` and `scheduler` of the record.
    """
    config, sha = freeze_config(run, sending["number"])
    return SubmissionRecord(
        key=run.key,
        name=run.name,
        submitted=files.now(),
        shape=run.shape,
        code=code.sha,
        commit=code.commit,
        config_sha=sha,
        payload=str(code.payload),
        config=str(config),
        accelerator=run.accelerator,
        inputs={label: str(needed.run_dir) for label, needed in run.requires.items()},
        after=list(job.after),
        is_required=job.is_required,
        environment=run.settings.cluster.environment,
        parameters=job.parameters,
        python_path=list(code.python_path),
        place=_place(run),
        profile=str(run.profile_dir),
        probe=asdict(run.settings.probe) if run.settings.action == "probe" else None,
        recovery=asdict(run.settings.recovery),
        **sending,
    )


def _readable(config: DictConfig) -> dict[str, Any]:
    """The task's part of a config as plain values, unresolved."""
    return {str(key): _plain(config._get_node(key)) for key in config if key != "hydra"}


def _plain(node: Any) -> Any:
    if OmegaConf.is_config(node) and not isinstance(node._value(), (str, type(None))):
        return OmegaConf.to_container(node, resolve=False, enum_to_str=True)
    value = node._value()
    if isinstance(value, Enum):
        return value.name
    return str(value) if isinstance(value, PurePath) else value


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Writes text that looks like a number with quotes, as OmegaConf reads YAML."""


_Dumper.add_representer(str, OmegaConfDumper.str_representer)


def _place(run: WantedRun) -> Place:
    cluster = run.settings.cluster
    return Place(
        cluster=cluster.name,
        partition=cluster.partition,
        gpu_type=cluster.gpu_type if run.shape.gpus_per_node else None,
        accelerator=run.accelerator,
    )
