"""Identity of runs: canonical JSON of a config -> key, and names in which only differences show.

Pure. The key of a run is a hash of its resolved config without the parts that do not change
the science (resources, cluster, paths, tracking ...), so the same science on other hardware
is the same run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from enum import Enum
from pathlib import PurePath
from typing import Any

from omegaconf import DictConfig, OmegaConf

KEY_VERSION = 1
"""Part of every key; raised when the canonical form changes."""
KEY_LENGTH = 12
"""Hex digits of a key: 10,000 runs collide with a chance below 1e-6."""


def run_key(config: DictConfig, exclude: Iterable[str], code: str | None = None) -> str:
    """Key of a run: hash of its resolved config without the `exclude`d dotted keys.

    With `code`, the hash of a code version, another version is another run.
    """
    return key_of(science(config, exclude), code)


def key_of(kept: dict[str, Any], code: str | None = None) -> str:
    """Key of the run whose `science` is given."""
    identity: dict[str, Any] = {"version": KEY_VERSION, "config": kept}
    if code is not None:
        identity["code"] = code
    return digest(identity)


def science(config: DictConfig, exclude: Iterable[str]) -> dict[str, Any]:
    """The resolved part of a config that means something to the science.

    Interpolations into excluded parts resolve, because each node keeps its parent.
    """
    excluded = list(exclude)
    kept: dict[str, Any] = {}
    for key in config:
        if str(key) not in excluded:
            kept[str(key)] = _resolved(config, str(key))
    for dotted in excluded:
        _drop(kept, dotted.split("."))
    return kept


def without(tree: dict[str, Any], excluded: Iterable[str]) -> dict[str, Any]:
    """A copy of plain nested dicts that lacks some dotted keys."""
    kept = _copied(tree)
    for dotted in excluded:
        _drop(kept, dotted.split("."))
    return kept


def _copied(tree: dict[str, Any]) -> dict[str, Any]:
    return {k: _copied(v) if isinstance(v, dict) else v for k, v in tree.items()}


def _resolved(config: DictConfig, key: str) -> Any:
    if OmegaConf.is_missing(config, key):
        return "???"
    value = config[key]
    if OmegaConf.is_config(value):
        return OmegaConf.to_container(value, resolve=True, enum_to_str=True)
    return value


def _drop(tree: dict[str, Any], path: Sequence[str]) -> None:
    *parents, last = path
    node: Any = tree
    for name in parents:
        node = node.get(name) if isinstance(node, dict) else None
    if isinstance(node, dict):
        node.pop(last, None)


def digest(value: Any) -> str:
    """Short hash of a plain value; equal values hash equal whatever the order of their keys."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:KEY_LENGTH]


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no white space; tuples are lists, paths and enums are text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(f"a config value of type {type(value).__name__} has no canonical form")


def study_id(overrides: Iterable[str], exclude: Iterable[str] = ()) -> str:
    """Name of a study without one of its own: what it sweeps, and a hash of what it asks for.

    The order of overrides and of swept values does not matter, and those under `exclude` do not
    count.
    """
    excluded = tuple(exclude)
    wanted = sorted(_in_order(o) for o in overrides if not _is_under(o, excluded))
    swept = [_leaf(o.split("=", 1)[0]) for o in wanted if "," in o or "range(" in o]
    stem = "-".join(swept[:3]) or "single"
    return f"{stem}-{digest(wanted)[:8]}"


def _in_order(override: str) -> str:
    """A plain choice sweep with its values in order: `x=2,1` asks for what `x=1,2` asks for."""
    key, equals, value = override.partition("=")
    if any(mark in value for mark in "([{'\"\\$"):
        return override
    return f"{key}{equals}{','.join(sorted(value.split(',')))}"


def _is_under(override: str, excluded: Sequence[str]) -> bool:
    key = override.lstrip("+~").split("=", 1)[0].split("@", 1)[0].replace("/", ".")
    return any(key == e or key.startswith(f"{e}.") for e in excluded)


def _leaf(key: str) -> str:
    leaf = key.lstrip("+~").split("@", 1)[0].replace("/", ".").rsplit(".", 1)[-1]
    return "".join(c if c.isalnum() or c in "_-" else "_" for c in leaf)


def differences(overrides: Sequence[Sequence[str]]) -> list[dict[str, str]]:
    """Of each run, the overrides in which the runs differ, by short key.

    A key is shortened to its last part where no other key ends alike.
    """
    parsed = [as_mapping(run) for run in overrides]
    keys = list(dict.fromkeys(key for run in parsed for key in run))
    varying = [key for key in keys if len({run.get(key) for run in parsed}) > 1]
    leaves = [_leaf(key) for key in varying]
    shown = {
        key: leaf if leaves.count(leaf) == 1 else key
        for key, leaf in zip(varying, leaves, strict=True)
    }
    return [{shown[key]: run[key] for key in varying if key in run} for run in parsed]


def shared(overrides: Sequence[Sequence[str]]) -> list[str]:
    """The overrides that all runs have, in the order of the first."""
    if not overrides:
        return []
    return [o for o in overrides[0] if all(o in run for run in overrides[1:])]


def short_names(overrides: Sequence[Sequence[str]]) -> list[str]:
    """One name per run, made of the overrides in which the runs differ.

    The name of a run that differs in nothing is `base`.
    """
    return [
        " ".join(f"{key}={value}" for key, value in run.items()) or "base"
        for run in differences(overrides)
    ]


def as_mapping(overrides: Iterable[str]) -> dict[str, str]:
    """Overrides as key -> value, as they were written."""
    pairs = (override.partition("=") for override in overrides)
    return {key: value for key, _, value in pairs}
