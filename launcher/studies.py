"""A study on disk: its runs, how they stand, what they returned."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher import catalog, identity, observing, store
from launcher.errors import StoreError
from launcher.records import (
    RunEntry,
    StudyRecord,
)
from launcher.scheduler.base import Poller
from launcher.states import RunStatus

if TYPE_CHECKING:
    import pandas as pd
    from omegaconf import DictConfig


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What one completed run returned."""

    key: str
    name: str
    run_dir: Path
    varying: dict[str, str]
    """Its overrides among those in which the runs of the study differ."""
    metrics: dict[str, Any]

    @cached_property
    def config(self) -> DictConfig:
        """The frozen config of the latest submission, read when it is first asked for."""
        return frozen_config(self.run_dir)

    def row(self) -> dict[str, Any]:
        """One flat row: key, overrides that differ, metrics."""
        return {"key": self.key, **self.varying, **self.metrics}


@dataclass(frozen=True)
class Study:
    """A study folder, read afresh at each call."""

    path: Path

    @property
    def record(self) -> StudyRecord:
        """What was declared, with run folders as absolute paths."""
        record = store.read_study(self.path)
        return record.model_copy(
            update={
                name: [self._placed(entry) for entry in getattr(record, name)]
                for name in ("runs", "prerequisites", "unwanted")
            }
        )

    def _placed(self, entry: RunEntry) -> RunEntry:
        folder = self.path.absolute() / entry.run_dir
        return entry.model_copy(update={"run_dir": str(folder)})

    def entries(self) -> list[RunEntry]:
        """Runs in the order of the command, those they require first."""
        record = self.record
        return [*record.prerequisites, *record.runs]

    def status(self, scheduler: Poller | None = None) -> list[RunStatus]:
        """How all runs stand; without a scheduler the records alone decide."""
        record = self.record
        entries = [*record.prerequisites, *record.runs]
        found = observing.statuses(entries, scheduler)
        nothing: list[dict[str, str]] = [{} for _ in record.prerequisites]
        varying = nothing + identity.differences([entry.overrides for entry in record.runs])
        overrides = [identity.as_mapping(entry.overrides) for entry in entries]
        return [
            replace(found[entry.key], varying=differs, overrides=given)
            for entry, differs, given in zip(entries, varying, overrides, strict=True)
        ]

    def results(self) -> list[RunResult]:
        """What the completed runs of the study returned, in its order."""
        return [
            RunResult(
                key=status.key,
                name=status.name,
                run_dir=Path(status.run_dir),
                varying=status.varying,
                metrics=flat_metrics(status.result),
            )
            for status in self._own_status()
            if status.state == "completed"
        ]

    def _own_status(self) -> list[RunStatus]:
        prerequisites = len(self.record.prerequisites)
        return self.status()[prerequisites:]

    def frame(self) -> pd.DataFrame:
        """One row per run of the study: state, what differs, and metrics of finished ones."""
        import pandas as pd

        rows = [
            {
                "run": status.name,
                "key": status.key,
                "state": status.state,
                **{name: _value(text) for name, text in status.varying.items()},
                **(flat_metrics(status.result) if status.state == "completed" else {}),
            }
            for status in self._own_status()
        ]
        return pd.DataFrame(rows)

    def histories(self) -> pd.DataFrame:
        """Curves of all runs in long form: run, key, attempt, step, metric, value.

        From every `metrics.csv` below the run folders, which is how Lightning's CSVLogger
        names its file. Steps that a later life of a run did again count once, as it did them.
        """
        import pandas as pd

        parts = [part for entry in self.record.runs for part in _histories(entry)]
        columns = ["run", "key", "attempt", "step", "metric", "value"]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def study(name: str | None = None, root: str | Path = "outputs") -> Study:
    """The study of that name or folder; without a name the one that changed last below `root`.

    Raises:
        StoreError: there is none.
    """
    return Study(catalog.find_study(name, Path(root)))


def frozen_config(run_dir: Path) -> DictConfig:
    """The config of the latest submission of a run, as a person reads it.

    Raises:
        StoreError: the run was never frozen.
    """
    from omegaconf import DictConfig, OmegaConf

    path = store.config_file(run_dir)
    if path is None:
        raise StoreError(f"`{run_dir}` has no frozen config", hint="was the run ever sent?")
    loaded = OmegaConf.load(path)
    assert isinstance(loaded, DictConfig)
    return loaded


def flat_metrics(result: Any) -> dict[str, Any]:
    """What a task returned as flat columns; a bare number is called `value`."""
    if isinstance(result, dict):
        return {str(name): value for name, value in result.items()}
    return {} if result is None else {"value": result}


def _histories(entry: RunEntry) -> list[pd.DataFrame]:
    """What the lives of a run logged; those of one logger lie beside each other."""
    loggers: dict[Path, list[Path]] = {}
    for path in Path(entry.run_dir).rglob("metrics.csv"):
        loggers.setdefault(path.parent.parent, []).append(path)
    parts = []
    for _, paths in sorted(loggers.items()):
        lives = [_history(entry, path) for path in sorted(paths, key=_natural)]
        ends = float("inf")
        kept = []
        for life in reversed(lives):
            kept.append(life[life["step"] < ends])
            ends = min(ends, life["step"].min()) if len(life) else ends
        parts += reversed(kept)
    return parts


def _natural(path: Path) -> list[int]:
    """Order of `version_2` before `version_10`."""
    return [int(digits) for digits in re.findall(r"\d+", path.parent.name)]


def _history(entry: RunEntry, path: Path) -> pd.DataFrame:
    import pandas as pd

    wide = pd.read_csv(path)
    if "step" not in wide:
        wide["step"] = range(len(wide))
    long = wide.melt(id_vars="step", var_name="metric").dropna(subset="value")
    long.insert(0, "attempt", path.parent.name)
    long.insert(0, "key", entry.key)
    long.insert(0, "run", entry.name)
    return long


def _value(text: str) -> Any:
    """An override's value as a number where it is one."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
