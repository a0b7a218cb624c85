"""OmegaConf resolvers that let a config name folders by identity.

hydra:
  sweep:
    dir: outputs/${study_id:}
    subdir: ${run_key:}
"""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from launcher import identity
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
    for key in ("hydra.launcher.key_exclude", "identity.exclude"):
        value = OmegaConf.select(config, key)
        if value is not None:
            return [*DEFAULT_KEY_EXCLUDE, *value]
    return list(DEFAULT_KEY_EXCLUDE)


def _run_key(*, _root_: Any) -> str:
    return identity.run_key(_root_, key_exclude(_root_))


def _study_id(*, _root_: Any) -> str:
    return identity.study_id(_root_.hydra.overrides.task, _without_science(_root_))
