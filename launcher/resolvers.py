"""OmegaConf resolvers that let a config name folders by identity.

hydra:
  sweep:
    dir: outputs/${study_id:}
    subdir: ${run_key:}
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from omegaconf import DictConfig, OmegaConf

from launcher import context, identity
from launcher.errors import ConfigError
from launcher.settings import DEFAULT_KEY_EXCLUDE


def register() -> None:
    """Register `${run_key:}` and `${study_id:}`; calling it again changes nothing."""
    OmegaConf.register_new_resolver("run_key", _run_key, replace=True)
    OmegaConf.register_new_resolver("study_id", _study_id, replace=True)


def key_exclude(config: DictConfig) -> list[str]:
    """Dotted keys that do not count for the key of a run.

    Besides what does not change the science these are the `identity.derived` ones, which only
    feed others: their values count where they arrive.
    """
    derived = OmegaConf.select(config, "identity.derived", default=[])
    return [*_without_science(config), *derived]


def _without_science(config: DictConfig) -> list[str]:
    always = OmegaConf.select(config, "identity.always", default=[])
    for key in ("hydra.launcher.key_exclude", "identity.exclude"):
        value = OmegaConf.select(config, key)
        if value is not None:
            return ["hydra", *always, *value]
    return [*DEFAULT_KEY_EXCLUDE, *always]


def key_of(config: DictConfig) -> str:
    """Key of the run that a composed config describes.

    Remembered until the next one is asked for, because the folder's name asks again.
    """
    global _latest
    code = None
    if OmegaConf.select(config, "hydra.launcher.key_code", default=False):
        from launcher import snapshot

        code = snapshot.current().sha
    science = identity.science(config, key_exclude(config))
    _latest = (config, identity.key_of({**science, **_included(config)}, code), science)
    return _latest[1]


def _included(config: DictConfig) -> dict[str, Any]:
    """What counts for the key although it does not change the science, by dotted key."""
    found: dict[str, Any] = {}
    for key in OmegaConf.select(config, "hydra.launcher.key_include", default=[]):
        value = OmegaConf.select(config, key, default=_ABSENT)
        if value is _ABSENT:
            raise ConfigError(
                f"`hydra.launcher.key_include` names `{key}`, which the config of the run has not",
                hint="name a key of the config with dots, e.g. resources.gpus",
            )
        found[key] = (
            OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        )
    return found


_ABSENT = object()


def profile_of(config: DictConfig) -> str:
    """Names what a run takes: its config without what changes neither memory nor speed.

    Runs of one profile are measured for each other. What the predictions vary (workers, batch,
    steps) is not part of it, nor is anything that is not part of the key.
    """
    if _latest is not None and _latest[0] is config:
        science = _latest[2]
    else:
        science = identity.science(config, key_exclude(config))
    settings = config.hydra.launcher
    varied = [*settings.config_keys.values(), *settings.profile_ignore]
    varied += settings.memory.grows_with
    return identity.digest(identity.without(science, varied))


_latest: tuple[Any, str, dict[str, Any]] | None = None


def _run_key(*, _root_: Any) -> str:
    running = context.running()
    if running is not None:
        return running.key
    if _latest is not None and _latest[0] is _root_:
        return _latest[1]
    return key_of(_root_)


def _study_id(*, _root_: Any) -> str:
    name = OmegaConf.select(_root_, "hydra.launcher.study")
    return str(name) if name else study_id_of(_root_, _root_.hydra.overrides.task)


def study_id_of(config: DictConfig, overrides: Iterable[str]) -> str:
    """Name of a study by what the overrides of its command sweep and ask for."""
    return identity.study_id(overrides, _without_science(config))
