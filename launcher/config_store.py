"""Make Hydra cheaper: it copies its whole ConfigStore at each look-up and each composition.

The store is filled when modules are imported and only read afterwards, and `ConfigStore.load`
copies the node that it hands out, so the copies of the store itself serve nothing. With our
schemas they are half the time of `--help`, and most of the time of composing one run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hydra.core.config_store import ConfigStore


@contextmanager
def shared() -> Iterator[None]:
    """Within the block, a copy of the ConfigStore is the ConfigStore itself."""
    if "__deepcopy__" in vars(ConfigStore):
        yield
        return
    ConfigStore.__deepcopy__ = _itself
    try:
        yield
    finally:
        del ConfigStore.__deepcopy__


def _itself(store: ConfigStore, memo: dict[int, Any]) -> ConfigStore:
    del memo
    return store
