"""Pick runs of a study by index, range, name, key, override or state. Pure."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from typing import get_args

from launcher.errors import LauncherError, nearest
from launcher.records import RunState
from launcher.states import RunStatus

_INDEX = re.compile(r"(\d+)(?:-(\d+))?")
_KEY = re.compile(r"[0-9a-f]{4,12}")


class SelectionError(LauncherError):
    """What somebody typed to pick runs picks none, or more than one where one is meant."""


def select(runs: Sequence[RunStatus], words: Iterable[str]) -> list[int]:
    """Indexes of the runs that all filters and any of the other words pick, in order.

    `backbone=ijepa data.fraction=0.1` narrows down, `0-2 5` adds up; without words all runs.

    Raises:
        SelectionError: a word picks nothing, or the name that it gives is ambiguous.
    """
    listed = [part for word in words for part in _parts(word)]
    filters = [word for word in listed if "=" in word and not _is_name(runs, word)]
    others = [word for word in listed if word not in filters]
    picked = set(range(len(runs)))
    if others:
        picked = {index for word in others for index in _pick(runs, word)}
    for word in filters:
        matching = _filter(runs, word)
        if not matching:
            raise _nothing(runs, word)
        picked &= matching
    if not picked:
        raise SelectionError(
            f"no run is picked by all of: {' '.join(listed)}", hint="`launch status` lists the runs"
        )
    return sorted(picked)


def select_one(runs: Sequence[RunStatus], words: Iterable[str]) -> int:
    """Index of the one run that the words pick.

    Raises:
        SelectionError: they pick none, or several.
    """
    listed = list(words)
    picked = select(runs, listed)
    if len(picked) > 1:
        some = ", ".join(f"{index} ({runs[index].name})" for index in picked[:5])
        raise SelectionError(
            f"one run is meant, `{' '.join(listed) or 'everything'}` picks {len(picked)}",
            hint=f"give an index: {some}{' ...' if picked[5:] else ''}",
        )
    return picked[0]


def _parts(word: str) -> list[str]:
    """`1,3,5-8` is three words; a comma in a filter or name belongs to it."""
    pieces = word.split(",")
    return pieces if all(_INDEX.fullmatch(piece) for piece in pieces) else [word]


def _is_name(runs: Sequence[RunStatus], word: str) -> bool:
    return any(run.name == word for run in runs)


def _pick(runs: Sequence[RunStatus], word: str) -> list[int]:
    index = _INDEX.fullmatch(word)
    if index is not None and int(index.group(1)) < max(len(runs), 1000):
        return _range(runs, word, int(index.group(1)), int(index.group(2) or index.group(1)))
    exact = [i for i, run in enumerate(runs) if word in (run.name, run.key)]
    if exact:
        return exact
    alike = [i for i, run in enumerate(runs) if _is_alike(run, word)]
    if len(alike) == 1:
        return alike
    if not alike:
        raise _nothing(runs, word)
    some = ", ".join(f"{i} ({runs[i].name})" for i in alike[:5])
    raise SelectionError(f"`{word}` is ambiguous", hint=f"runs: {some}{' ...' * bool(alike[5:])}")


def _is_alike(run: RunStatus, word: str) -> bool:
    by_key = _KEY.fullmatch(word) is not None and run.key.startswith(word)
    return by_key or word in run.name or run.job_id == word


def _range(runs: Sequence[RunStatus], word: str, first: int, last: int) -> list[int]:
    if first > last or last >= len(runs):
        raise SelectionError(
            f"`{word}` is outside of the study's runs 0-{len(runs) - 1}",
            hint="`launch status` lists them",
        )
    return list(range(first, last + 1))


def _filter(runs: Sequence[RunStatus], word: str) -> set[int]:
    key, _, pattern = word.partition("=")
    return {
        index
        for index, run in enumerate(runs)
        if any(fnmatch.fnmatchcase(value, pattern) for value in _values(run, key))
    }


def _values(run: RunStatus, key: str) -> list[str]:
    """Values of a run under a key, which may be given by its last part."""
    if key == "state":
        return [run.state]
    return [
        value
        for name, value in run.overrides.items()
        if key in (name, name.lstrip("+~"), _last_part(name))
    ]


def _last_part(name: str) -> str:
    return name.lstrip("+~").rpartition(".")[2].rpartition("/")[2]


def _nothing(runs: Sequence[RunStatus], word: str) -> SelectionError:
    key, equals, _ = word.partition("=")
    if equals:
        return _nothing_by_filter(runs, word, key)
    match = nearest(word, [run.name for run in runs])
    return SelectionError(
        f"no run is called `{word}`",
        hint=f"did you mean `{match}`?" if match else "`launch status` lists the runs",
    )


def _nothing_by_filter(runs: Sequence[RunStatus], word: str, key: str) -> SelectionError:
    legal = sorted({value for run in runs for value in _values(run, key)})
    if key == "state":
        legal = list(get_args(RunState))
    if legal:
        return SelectionError(
            f"`{word}` matches no run", hint=f"values of `{key}`: {', '.join(legal[:10])}"
        )
    keys = sorted({name.lstrip("+~") for run in runs for name in run.overrides})
    match = nearest(key, keys)
    return SelectionError(
        f"no run has an override `{key}`",
        hint=f"did you mean `{match}`?" if match else f"there are: {', '.join(keys[:10])}",
    )
