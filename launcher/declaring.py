"""What a command declares: its runs, those that they require, and the record of the study."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher import files, identity, store
from launcher.compose import WantedRun
from launcher.records import RunEntry, StudyRecord
from launcher.settings import StudyLauncherConf


def _renamed(runs: Sequence[RunEntry]) -> list[RunEntry]:
    """With names that tell all of them apart: those of a batch tell only that batch apart."""
    names = identity.short_names([entry.overrides for entry in runs])
    return [
        entry.model_copy(update={"name": name}) for entry, name in zip(runs, names, strict=True)
    ]


@dataclass(frozen=True, kw_only=True)
class Declared:
    """Runs of a study, and those that they require."""

    runs: Sequence[RunEntry] = ()
    prerequisites: Sequence[RunEntry] = ()
    followed: frozenset[str] = frozenset()
    """Keys of prerequisites that belong to another study."""

    def keys(self) -> set[str]:
        """Keys of all of them."""
        return {entry.key for entry in (*self.runs, *self.prerequisites)}

    def plus(self, wanted: Iterable[WantedRun]) -> Declared:
        """With further runs and what they require, each once."""
        runs = {entry.key: entry for entry in self.runs}
        needed = {entry.key: entry for entry in self.prerequisites}
        listed = list(wanted)
        runs.update({run.key: entry_of(run) for run in listed})
        needed.update({run.key: entry_of(run) for run in with_required(listed)})
        return Declared(
            runs=_renamed(list(runs.values())),
            prerequisites=[entry for key, entry in needed.items() if key not in runs],
            followed=self.followed | {run.key for run in with_required(listed) if run.is_followed},
        )


def with_required(wanted: Iterable[WantedRun]) -> list[WantedRun]:
    """The runs and all that they require, each once, and after what it requires."""
    listed: dict[str, WantedRun] = {}
    for run in wanted:
        for needed in with_required(run.requires.values()):
            listed.setdefault(needed.key, needed)
        listed.setdefault(run.key, run)
    return list(listed.values())


def entry_of(run: WantedRun) -> RunEntry:
    """What a study's record says of a run."""
    return RunEntry(
        key=run.key,
        name=run.name,
        overrides=list(run.overrides),
        run_dir=str(run.run_dir),
        requires={label: needed.key for label, needed in run.requires.items()},
    )


def declare(
    study_dir: Path,
    declared: Declared,
    settings: StudyLauncherConf,
    *,
    scheduler: str,
    overrides: list[str],
    unwanted: Sequence[RunEntry] = (),
) -> None:
    """Write the study's record; when the study was created stays as an earlier command wrote it.

    Raises:
        StoreError: the record that is there is damaged.
    """
    path = study_dir / "study.json"
    earlier = store.find_record(path, StudyRecord)
    record = StudyRecord(
        study_id=study_dir.name,
        created=files.now() if earlier is None else earlier.created,
        command=sys.argv,
        overrides=overrides,
        runs=[_declared(entry, study_dir) for entry in declared.runs],
        prerequisites=[_declared(entry, study_dir) for entry in declared.prerequisites],
        unwanted=[_declared(entry, study_dir) for entry in unwanted],
        followed=sorted(declared.followed),
        report=settings.report,
        page=settings.page,
        cluster=settings.cluster.name,
        scheduler=scheduler,
        environment=settings.cluster.environment,
    )
    store.write_record(path, record)


def _declared(entry: RunEntry, study_dir: Path) -> RunEntry:
    """With the folder relative to the study's, so that the study can be moved."""
    folder = Path(entry.run_dir)
    if folder.is_relative_to(study_dir):
        folder = folder.relative_to(study_dir)
    return entry.model_copy(update={"run_dir": str(folder)})
