"""Handling of Hydra's configs: edit composed ones, compose without needless copies."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cloudpickle
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf, open_dict, read_write


@contextmanager
def editable(config: DictConfig) -> Iterator[None]:
    """Within the block, a composed config may be changed and extended, its hydra part too."""
    with read_write(config), open_dict(config), read_write(config.hydra), open_dict(config.hydra):
        yield


def without_hydra(config: DictConfig) -> DictConfig:
    """The part of a composed config that the task sees."""
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])


def pickled(value: Any) -> bytes:
    """Pickle by reference, and where that fails (classes of a notebook) by value."""
    try:
        content = pickle.dumps(value)
    except (pickle.PicklingError, AttributeError, TypeError):
        content = b"__main__"
    # Classes of the program itself are in `__main__`, which is another module in the job.
    return bytes(cloudpickle.dumps(value)) if b"__main__" in content else content


@contextmanager
def shared_store() -> Iterator[None]:
    """Within the block, a copy of the ConfigStore is the ConfigStore itself.

    Hydra copies the whole store at each look-up of a group and at each composition. It is
    filled when modules are imported and only read afterwards, and `ConfigStore.load` copies
    the node that it hands out, so those copies serve nothing. With our schemas they were half
    the time of `--help` and most of the time of composing a run.
    """
    if "__deepcopy__" in vars(ConfigStore):
        yield
        return
    setattr(ConfigStore, "__deepcopy__", _itself)  # noqa: B010 - mypy knows no such attribute
    try:
        yield
    finally:
        delattr(ConfigStore, "__deepcopy__")


def _itself(store: ConfigStore, memo: dict[int, Any]) -> ConfigStore:
    del memo
    return store
