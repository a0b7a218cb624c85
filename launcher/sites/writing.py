"""A cluster profile as a YAML file, and what becomes of a file that somebody has edited. Pure.

At its end the file keeps what was found, so that a later look can tell a value that a person
changed (it stays) from one that the site changed (it follows).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from launcher.errors import ConfigError
from launcher.sites.profile import Found, Key, Profile

PLACEHOLDER = "# A placeholder: `launch cluster discover` replaces this file."
_HINT_FORCE = "mend it by hand, or let `launch cluster discover --force` write it anew"
_MARK = "#: "
_SEPARATOR = " / "


@dataclass(kw_only=True)
class Written:
    """A file, and what was kept in it."""

    text: str
    kept: list[str] = field(default_factory=list)
    """Values that somebody changed by hand, e.g. `partitions.gpu.speed=0.87`."""
    gone: list[str] = field(default_factory=list)
    """Partitions that the site has no more, with what was said of them by hand."""


def write(
    profile: Profile,
    before: str | None,
    *,
    package: str | None = None,
    answers: Mapping[Key, Any] | None = None,
) -> Written:
    """The text of a profile's file.

    Args:
        profile: What was found.
        before: Text of the file that is there; None where there is none, or it shall not count.
        package: Where in a config the file's content goes, for projects that need that said.
        answers: Values that somebody gives now.

    Raises:
        ConfigError: the file that is there cannot be read, or what was kept in it.
    """
    counts = before is not None and PLACEHOLDER not in before
    merged, kept, gone = _merged(profile, before if counts else None, answers or {})
    header = [f"# @package {package}"] if package else []
    header += [
        "# Found by `launch cluster discover`. A value that you change stays when it looks again;",
        "# comments are written anew.",
        *(f"#   {remark}" for remark in profile.remarks),
    ]
    lines = [*header, *_yaml_lines(_nested(merged)), "", *_marks(profile)]
    return Written(text="\n".join(lines) + "\n", kept=kept, gone=gone)


def without_marks(text: str) -> list[str]:
    """Lines of a file as people read it."""
    return [line for line in text.splitlines() if not line.startswith(_MARK)]


def values_of(text: str) -> dict[Key, Any]:
    """Values of a profile's file by their path.

    Raises:
        ConfigError: it is no YAML with keys.
    """
    try:
        tree = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"the profile is no YAML: {error}", hint=_HINT_FORCE) from error
    if not isinstance(tree, dict):
        raise ConfigError("the profile holds no keys", hint=_HINT_FORCE)
    return dict(_flat(tree))


def package_of(text: str) -> str | None:
    """Where a file says that its content goes."""
    found = re.match(r"# @package (\S+)", text)
    return found.group(1) if found else None


def _merged(
    profile: Profile, before: str | None, answers: Mapping[Key, Any]
) -> tuple[dict[Key, Found], list[str], list[str]]:
    current = {**values_of(before or ""), **answers}
    marked = _read_marks(before or "")
    gone = _partitions(marked) & _partitions(current) - _partitions(profile.values)
    removed = _partitions(marked) - _partitions(current)
    merged: dict[Key, Found] = {}
    kept, lost = [f"partitions.{name} (left out)" for name in sorted(removed - gone)], []
    for key in _ordered(profile.values, current):
        found, is_ours = profile.values.get(key), key in marked
        is_edited = key in current and (not is_ours or current[key] != marked[key])
        if _partition(key) in gone:
            lost += [_shown(key, current[key])] if is_edited else []
        elif is_edited and (found is None or current[key] != found.value):
            told = f"yours; found: {_scalar(found.value)}" if found is not None else "yours"
            merged[key] = Found(current[key], told)
            kept.append(_shown(key, current[key]))
        elif found is None or _partition(key) in removed:
            continue
        elif is_ours and key not in current:
            kept.append(f"{'.'.join(key)} (left out)")
        else:
            merged[key] = found
    return merged, kept, [*sorted(gone), *lost]


def _ordered(found: Mapping[Key, Any], current: Mapping[Key, Any]) -> list[Key]:
    """All keys, those of one partition together, what is only in the file before `partitions`."""
    keys = list(dict.fromkeys([*found, *current]))
    return sorted(keys, key=lambda key: (key[0] != "defaults", key[0] == "partitions"))


def _partition(key: Key) -> str | None:
    return key[1] if key[0] == "partitions" and len(key) > 1 else None


def _partitions(keys: Mapping[Key, Any]) -> set[str]:
    return {name for key in keys if (name := _partition(key)) is not None}


def _flat(tree: Any, path: Key = ()) -> Iterator[tuple[Key, Any]]:
    if isinstance(tree, dict) and (tree or not path):
        for name, value in tree.items():
            yield from _flat(value, (*path, str(name)))
    else:
        yield path, tree


def _nested(values: Mapping[Key, Found]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, found in values.items():
        branch = tree
        for word in key[:-1]:
            branch = branch.setdefault(word, {})
        branch[key[-1]] = found
    return tree


def _yaml_lines(tree: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    for name, value in tree.items():
        word = _scalar(name)
        if isinstance(value, Found):
            note = f"  # {value.note}" if value.note else ""
            yield f"{indent}{word}: {_scalar(value.value)}{note}"
        else:
            yield f"{indent}{word}:"
            yield from _yaml_lines(value, f"{indent}  ")


def _scalar(value: Any) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...").strip()


def _shown(key: Key, value: Any) -> str:
    return f"{'.'.join(key)}={_scalar(value)}"


def _marks(profile: Profile) -> list[str]:
    lines = [
        f"{_MARK}{_SEPARATOR.join(key)} = {json.dumps(found.value)}"
        for key, found in profile.values.items()
    ]
    return ["# What was found, for the next look:", *lines]


def _mark_value(value: str, line: str) -> Any:
    try:
        return json.loads(value)
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"`{line}` of the profile is no line that `launch cluster discover` wrote",
            hint=_HINT_FORCE,
        ) from error


def _read_marks(text: str) -> dict[Key, Any]:
    marks: dict[Key, Any] = {}
    for line in text.splitlines():
        if line.startswith(_MARK):
            path, _, value = line.removeprefix(_MARK).partition(" = ")
            marks[tuple(path.split(_SEPARATOR))] = _mark_value(value, line)
    return marks
