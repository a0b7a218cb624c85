"""From a study on disk to a scaling report: its attempts, and others that train the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from launcher import catalog, measures, store
from launcher.errors import LauncherError, StoreError
from launcher.measures import Measure
from launcher.records import SubmissionRecord
from launcher.scaling import report as scaling
from launcher.scaling.report import Report, Sample
from launcher.selection import select
from launcher.studies import Study

PROBES = Path("profiles") / "probes"
"""Where probes are kept below the folder of the studies, or below a project's hidden one."""


def latest_study(root: Path) -> Path:
    """The study below `root` that changed last, probes included.

    Raises:
        StoreError: there is none.
    """
    roots = (root, Path(measures.HIDDEN))
    probes = [path.parent for r in roots for path in (r / PROBES).glob("*/study.json")]
    try:
        studies = catalog.known_studies(root)[-1:]
    except StoreError:
        if not probes:
            raise
        studies = []
    return max([*studies, *probes], key=lambda path: (path / "study.json").stat().st_mtime)


def compare(
    study: Study, words: Sequence[str], *, everything: bool = False, remembered: bool = False
) -> Report:
    """Compare the attempts of runs of a study.

    Args:
        study: The study.
        words: Which of its runs; all without words.
        everything: Every attempt, not only the last of a run in one shape.
        remembered: Also attempts of other studies that share a profile with one of these runs.

    Raises:
        LauncherError: no attempt of these runs was measured.
        SelectionError: the words pick nothing.
    """
    samples = _own(study, words)
    if not samples:
        raise LauncherError(
            f"no attempt of study `{study.path.name}` was measured",
            hint="runs write what they take while they train; `launch probe` measures in minutes",
        )
    profiles = _profiles(samples)
    if not everything:
        samples = scaling.latest(samples)
    if remembered:
        samples += _remembered(profiles, samples)
    return scaling.report(samples)


def _own(study: Study, words: Sequence[str]) -> list[Sample]:
    statuses = study.status()
    picked = [statuses[index] for index in select(statuses, words)]
    return [
        Sample(name=status.name, group=_group(sent, measure), measure=measure)
        for status in picked
        if (sent := store.submission(status.run_dir, status.key)) is not None
        for measure in measures.of_run(Path(status.run_dir))
    ]


def _remembered(profiles: Sequence[str], samples: Sequence[Sample]) -> Iterator[Sample]:
    known = {(sample.measure.run_dir.resolve(), sample.measure.attempt) for sample in samples}
    for profile in profiles:
        for measure in measures.remembered(Path(profile)):
            sent = store.submission(measure.run_dir)
            if sent is None or (measure.run_dir.resolve(), measure.attempt) in known:
                continue
            name = f"{measure.run_dir.parent.name}: {sent.name}"
            yield Sample(name=name, group=_group(sent, measure), measure=measure)


def _profiles(samples: Sequence[Sample]) -> list[str]:
    sent = [store.submission(sample.measure.run_dir) for sample in samples]
    return list(dict.fromkeys(one.profile for one in sent if one is not None and one.profile))


def _group(sent: SubmissionRecord, measure: Measure) -> str:
    """What is compared with each other: the same training at the same kind of place."""
    place = measure.place
    words = [place.cluster, place.partition, measure.gpu_type]
    where = " ".join(dict.fromkeys(word for word in words if word)) or "here"
    return f"{where}, profile {Path(sent.profile).name[:6] or '?'}"
