"""Scene filters and lists of logs, in NAVSIM's own YAML (navsim.common.dataclasses.SceneFilter)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from experiments.settings import DataConfig
from launcher.errors import ConfigError

_CONFIG = Path("navsim/planning/script/config")
_FILTER_FOLDERS = (
    _CONFIG / "common/train_test_split/scene_filter",
    _CONFIG / "common/scene_filter",
)
"""Where versions 1.1 and later, and 1.0 of the devkit keep scene filters."""
_SPLIT_FILE = _CONFIG / "training/default_train_val_test_log_split.yaml"
_LISTS = ("train_logs", "val_logs", "test_logs")


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneFilter:
    """Which windows of which logs are scenes. Defaults are those of NAVSIM's class."""

    name: str
    """As it was asked for."""
    num_history_frames: int = 4
    num_future_frames: int = 10
    frame_interval: int | None = None
    """Stride between windows [frames]; None is the length of a window."""
    has_route: bool = True
    max_scenes: int | None = None
    """The first so many, in the order of the names of logs; NAVSIM takes the disk's order."""
    log_names: tuple[str, ...] | None = None
    tokens: tuple[str, ...] | None = None

    @property
    def stride(self) -> int:
        """Stride between windows [frames]."""
        return self.frame_interval or self.num_history_frames + self.num_future_frames


@dataclass(frozen=True, slots=True)
class LogLists:
    """Names of the logs that train, validate and test; more than a data set has, as a rule."""

    train: frozenset[str]
    val: frozenset[str]
    test: frozenset[str]


@dataclass(frozen=True, slots=True)
class Filters:
    """All filters and lists of a config; None where it names none."""

    main: SceneFilter | None
    val: SceneFilter | None
    test: SceneFilter | None
    lists: LogLists | None

    def each(self) -> tuple[SceneFilter, ...]:
        """Those that there are."""
        return tuple(part for part in (self.main, self.val, self.test) if part is not None)

    def wanted_logs(self) -> frozenset[str] | None:
        """Return the logs that any of them could take scenes from; None is every log there is."""
        wanted: set[str] = set()
        for scenes in self.each():
            if scenes.log_names is None and (scenes is not self.main or self.lists is None):
                return None
            wanted.update(scenes.log_names or ())
        if self.lists is not None and (self.main is None or self.main.log_names is None):
            lists = self.lists
            wanted |= lists.train | lists.val | (lists.test if self.test is None else frozenset())
        return frozenset(wanted) if wanted else None


def filters_of(config: DataConfig) -> Filters:
    """Read the filters and lists that a config names.

    Raises:
        ConfigError: a file is missing or says something else, or another window than the config.
    """
    main, val, test = (
        None if value is None else _checked(config, key, read_filter(key, value, config.devkit))
        for key, value in (
            ("data.filter", config.filter),
            ("data.val_filter", config.val_filter),
            ("data.test_filter", config.test_filter),
        )
    )
    lists = _lists(config) if config.split == "navsim" else None
    return Filters(main, val, test, lists)


def _checked(config: DataConfig, key: str, scenes: SceneFilter) -> SceneFilter:
    for name in ("num_history_frames", "num_future_frames", "has_route"):
        ours, theirs = getattr(config, name), getattr(scenes, name)
        if ours != theirs:
            raise ConfigError(
                f"`{key}={scenes.name}` says {name}: {theirs}, but `data.{name}={ours}`",
                hint=f"set data.{name}={str(theirs).lower()}, or take another filter",
            )
    if scenes.stride % config.frame_interval:
        raise ConfigError(
            f"`{key}={scenes.name}` takes every {scenes.stride}th window, which"
            f" `data.frame_interval={config.frame_interval}` does not keep",
            hint="set data.frame_interval=1",
        )
    return scenes


def read_filter(key: str, value: str, devkit: str | None = None) -> SceneFilter:
    """Read a scene filter by its path, or by its name from a checkout of the devkit.

    Raises:
        ConfigError: there is none, or it is not a scene filter; `key` is what named it.
    """
    path = _filter_path(key, value, devkit)
    entry = dict(_read(key, path))
    entry = {name: part for name, part in entry.items() if name not in ("_target_", "_convert_")}
    # What later versions add (synthetic scenes) is off in the filters that we read.
    known = set(SceneFilter.__dataclass_fields__) - {"name"}
    unknown = sorted(name for name, part in entry.items() if name not in known and part)
    if unknown:
        raise ConfigError(
            f"`{key}`: `{path}` has keys that no scene filter of NAVSIM v1 has:"
            f" {', '.join(unknown)}",
            hint=f"legal: {', '.join(sorted(known))}",
        )
    values: dict[str, Any] = {name: part for name, part in entry.items() if name in known}
    for name in ("log_names", "tokens"):
        if values.get(name) is not None:
            values[name] = _names(key, path, name, values[name])
    _check_numbers(key, path, values)
    return SceneFilter(name=value, **values)


def _filter_path(key: str, value: str, devkit: str | None) -> Path:
    if "/" in value or value.endswith((".yaml", ".yml")):
        return Path(value)
    if devkit is None:
        raise ConfigError(
            f"`{key}={value}` is the name of a filter, but `data.devkit` is not set",
            hint="set data.devkit to a checkout of NAVSIM, or give the path of a YAML file",
        )
    paths = [Path(devkit) / folder / f"{value}.yaml" for folder in _FILTER_FOLDERS]
    found = next((path for path in paths if path.is_file()), None)
    if found is None:
        raise ConfigError(
            f"`{key}={value}`: `data.devkit={devkit}` has no such filter",
            hint=f"looked for {paths[0]}",
        )
    return found


def _check_numbers(key: str, path: Path, values: dict[str, Any]) -> None:
    for name, least in {
        "num_history_frames": 1,
        "num_future_frames": 1,
        "frame_interval": 1,
        "max_scenes": 1,
    }.items():
        value = values.get(name)
        may_be_none = name in ("frame_interval", "max_scenes")
        if name not in values or (value is None and may_be_none):
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ConfigError(f"`{key}`: `{path}` says {name}: {value}, not a number from {least}")
    if not isinstance(values.get("has_route", True), bool):
        raise ConfigError(f"`{key}`: `{path}` says has_route: {values['has_route']}, not a truth")


def _names(key: str, path: Path, name: str, values: Any) -> tuple[str, ...]:
    """Return a list of names; a token of digits that nobody quoted is a number to YAML."""
    if not isinstance(values, list):
        raise ConfigError(f"`{key}`: {name} in `{path}` is not a list")
    wrong = [value for value in values if not isinstance(value, str)]
    if wrong:
        raise ConfigError(
            f"`{key}`: {len(wrong)} of the {name} in `{path}` are not text, e.g. {wrong[0]!r}",
            hint="put them in quotes",
        )
    if len(set(values)) < len(values):
        twice = Counter(values).most_common(1)[0][0]
        raise ConfigError(f"`{key}`: `{twice}` comes twice in the {name} of `{path}`")
    return tuple(values)


def _lists(config: DataConfig) -> LogLists:
    key = "data.split_files"
    paths = [Path(path) for path in config.split_files]
    if not paths:
        if config.devkit is None:
            raise ConfigError(
                "`data.split=navsim` needs lists of logs",
                hint="set data.split_files, or data.devkit to a checkout of NAVSIM",
            )
        paths = [Path(config.devkit) / _SPLIT_FILE]
    found: dict[str, frozenset[str]] = {}
    for path in paths:
        for name, values in _read(key, path).items():
            if name not in _LISTS:
                raise ConfigError(
                    f"`{key}`: `{path}` has a list `{name}`", hint=f"legal: {', '.join(_LISTS)}"
                )
            found[name] = found.get(name, frozenset()) | set(_names(key, path, name, values))
    lists = LogLists(*(found.get(name, frozenset()) for name in _LISTS))
    _refuse_shared(key, lists)
    return lists


def _refuse_shared(key: str, lists: LogLists) -> None:
    pairs = (("train", "val"), ("train", "test"), ("val", "test"))
    for one, other in pairs:
        shared = sorted(getattr(lists, one) & getattr(lists, other))
        if shared:
            raise ConfigError(
                f"`{key}`: {len(shared)} logs stand in {one}_logs and in {other}_logs,"
                f" e.g. `{shared[0]}`"
            )


def _read(key: str, path: Path) -> dict[str, Any]:
    try:
        status = path.stat()
        return _parsed(path, status.st_mtime_ns, status.st_size)
    except OSError as error:
        raise ConfigError(f"`{key}`: cannot read `{path}`: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise ConfigError(f"`{key}`: `{path}` is not a table in YAML: {error}") from error


@lru_cache(maxsize=8)
def _parsed(path: Path, _mtime_ns: int, _size: int) -> dict[str, Any]:
    # The parser in C takes 0.3 s for the 103,288 tokens of navtrain, that in Python 2 s.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return dict(yaml.load(path.read_bytes(), loader))


def forget() -> None:
    """Drop what was read: the tokens of navtrain are 10 MB of objects in each rank."""
    _parsed.cache_clear()
