"""Runs that come after those of a finished study: `launch evaluate`.

Each run of the study gets one of this command, with its overrides and then the command's. What the
followed run was, and what it was made from, is not composed anew but taken from its folder: so
nothing is made again, and nothing can be confused with something that is called the same.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from launcher import identity, resolvers, store, ui
from launcher.asking import scheduler_of
from launcher.compose import Composer, WantedRun, override_key, settings_of
from launcher.errors import ConfigError
from launcher.records import RunEntry
from launcher.settings import SWITCHES, FollowConfig, StudyLauncherConf
from launcher.states import RunStatus
from launcher.studies import Study
from launcher.topology import shape_of
from launcher.trees import leaves

_SHOWN = 8


@dataclass(frozen=True, kw_only=True)
class Followed:
    """A run of another study, and the runs that it was made from."""

    entry: RunEntry
    inputs: dict[str, RunEntry]
    """By the label under which it required them."""


def runs(
    composer: Composer, follow: FollowConfig, job_overrides: Sequence[Sequence[str]]
) -> list[WantedRun]:
    """Compose a run after each one of a study that can be followed; says which cannot.

    Args:
        composer: Of the command.
        follow: Names the study.
        job_overrides: What the command asks for, for each followed run.

    Raises:
        ConfigError: no run can be followed, or one was made with other values.
        StoreError: the study's records are damaged.
    """
    folder = Path(str(follow.study)).absolute()
    study = Study(folder)
    taken, left = of_study(study, study.status(scheduler_of(study)))
    if not taken:
        raise ConfigError(
            f"no run of `{folder.name}` has completed or is on its way: {named(left)}",
            hint=f"launch retry {folder.name} --failed",
        )
    if left:
        ui.say(f"not followed: {named(left)}")
    points = [(one, list(given)) for given in job_overrides for one in taken]
    wanted = composer.runs(
        [overrides_after(one, given) for one, given in points],
        0,
        [pinned(one, follow) for one, _ in points],
    )
    for run in wanted:
        check(run)
    return wanted


def overrides_after(followed: Followed, given: Sequence[str]) -> list[str]:
    """Overrides of the run that follows: those of the command take the place of the run's own.

    Switches are not followed: they belonged to the command that sent the run.
    """
    left = {*SWITCHES, *(override_key(override) for override in given)}
    return [*(o for o in followed.entry.overrides if override_key(o) not in left), *given]


def of_study(study: Study, statuses: Iterable[RunStatus]) -> tuple[list[Followed], list[RunStatus]]:
    """Return the runs of a study that can be followed, and those that cannot.

    A run can be followed when it has completed, or is on its way: then it is waited for.
    """
    record = study.record
    known = {entry.key: entry for entry in [*record.prerequisites, *record.runs]}
    states = {status.key: status for status in statuses}
    taken, left = [], []
    for entry in record.runs:
        if states[entry.key].state in ("completed", "waiting", "pending", "running"):
            inputs = {label: known[key] for label, key in entry.requires.items() if key in known}
            taken.append(Followed(entry=entry, inputs=inputs))
        else:
            left.append(states[entry.key])
    return taken, left


def named(left: Sequence[RunStatus]) -> str:
    """Return the names of runs with their states."""
    listed = [f"`{status.name}` ({status.state})" for status in left[:_SHOWN]]
    return ", ".join(listed) + ", ..." * (len(left) > _SHOWN)


def as_it_was(entry: RunEntry, name: str) -> WantedRun:
    """Return a run as it was sent last; it requires nothing, and is never sent by us.

    Raises:
        StoreError: its records are damaged.
        ConfigError: it was never sent.
    """
    sent = store.submission(entry.run_dir, entry.key)
    if sent is None:
        raise ConfigError(f"`{entry.name}` was never sent: {entry.run_dir}")
    content = _frozen(Path(sent.config), entry.name)
    config: DictConfig = pickle.loads(content)
    settings: StudyLauncherConf = settings_of(config)
    return WantedRun(
        key=entry.key,
        name=name,
        overrides=tuple(entry.overrides),
        run_dir=Path(entry.run_dir),
        pickle=content,
        settings=settings,
        shape=shape_of(settings.resources, settings.cluster),
        profile_dir=Path(settings.profiles_dir).resolve() / resolvers.profile_of(config),
        is_followed=True,
    )


def _frozen(config: Path, name: str) -> bytes:
    try:
        return config.read_bytes()
    except FileNotFoundError as error:
        raise ConfigError(
            f"what `{name}` was made with is gone: {config}",
            hint="put back the study, or run it again",
        ) from error


def check(after: WantedRun) -> None:
    """Refuse to follow a run that is another one than the config of the run after it says.

    Raises:
        ConfigError: names what differs, with both values.
    """
    follow, config = after.settings.follow, after.config
    run = after.requires.get(follow.label)
    if run is None:
        raise ConfigError(
            f"runs of this command require no `{follow.label}`, for which a followed run stands",
            hint="e.g. task=evaluate, whose config says requires.train=[task=train]",
        )
    declared = [str(override) for override in after.settings.requires[follow.label]]
    theirs = run.config
    for override in declared:
        key, _, value = override.partition("=")
        found = _at(theirs, key)
        if str(found) != value:
            raise ConfigError(
                f"`{run.name}` cannot be followed: its `{key}` is `{found}`, not `{value}`",
                hint="name a study whose runs are what `requires."
                f"{follow.label}` asks for: {' '.join(declared)}",
            )
    ours = dict(leaves(identity.science(config, _not_compared(config, follow, declared))))
    known = dict(leaves(identity.science(theirs, _not_compared(theirs, follow, declared))))
    differing = [
        f"{key} ({known.get(key)!r} there, {ours.get(key)!r} here)"
        for key in sorted(ours.keys() | known.keys())
        if ours.get(key) != known.get(key)
    ]
    if differing:
        raise ConfigError(
            f"`{run.name}` was made with other values: {', '.join(differing[:_SHOWN])}",
            hint=f"only these may differ: {', '.join(follow.may_differ) or 'none'}; for others,"
            " run a study that makes them",
        )


def _not_compared(config: DictConfig, follow: FollowConfig, declared: list[str]) -> list[str]:
    changed = [override_key(override) for override in declared]
    return [*resolvers.key_exclude(config), *follow.may_differ, *changed, "requires", "identity"]


def _at(config: DictConfig, key: str) -> Any:
    node: Any = config
    for name in key.split("."):
        node = node.get(name) if isinstance(node, DictConfig) else None
    return node


def pinned(followed: Followed, follow: FollowConfig) -> dict[str, WantedRun]:
    """Return the runs that stand for requirements of the run that follows, by label."""
    made_from = {
        label: as_it_was(entry, entry.name)
        for label, entry in followed.inputs.items()
        if label.partition("/")[0] not in follow.anew
    }
    own = as_it_was(followed.entry, f"{follow.label} {followed.entry.key[:6]}")
    return {**made_from, follow.label: own}
