"""OmegaConf resolvers that let a config name folders by identity.

hydra:
  sweep:
    dir: outputs/${study_id:}
    subdir: ${run_key:}
"""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from launcher import context, identity
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
    _latest = (config, identity.run_key(config, key_exclude(config), code=code))
    return _latest[1]


_latest: tuple[Any, str] | None = None


def _run_key(*, _root_: Any) -> str:
    running = context.running()
    if running is not None:
        return running.key
    if _latest is not None and _latest[0] is _root_:
        return _latest[1]
    return key_of(_root_)


def _study_id(*, _root_: Any) -> str:
    name = OmegaConf.select(_root_, "hydra.launcher.study")
    if name:
        return str(name)
    return identity.study_id(_root_.hydra.overrides.task, _without_science(_root_))
