"""Composes runs as a command does, once for each command: that takes half a second."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig

from experiments import settings
from launcher.compose import Choice, Composer
from launcher.hydra_config import shared_store
from tests.programs import REPOSITORY

settings.register()
OURS = REPOSITORY / "conf"


@pytest.fixture
def current_config() -> Iterator[None]:
    """What composing leaves behind as the current config is put back."""
    before = HydraConfig.instance().cfg
    yield
    HydraConfig.instance().cfg = before


@functools.cache
def prepared(conf: Path, *command: str) -> tuple[Any, DictConfig]:
    """The config loader and the master config of one Hydra command."""
    with shared_store(), initialize_config_dir(str(conf), version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        master = hydra.compose_config("config", list(command), RunMode.MULTIRUN)
        return hydra.config_loader, master


def composer(*command: str, choose: Callable[[DictConfig], Choice] | None = None) -> Composer:
    """Of this repository's own configs."""
    loader, master = prepared(OURS, *command)
    context = HydraContext(config_loader=loader, callbacks=Callbacks())
    return Composer(context, master, choose)
