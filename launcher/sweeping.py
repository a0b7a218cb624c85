"""Compose the configs of a sweep: the defaults list once per choice of groups.

Hydra composes each run of a sweep from its files, 30 to 70 ms each. Runs that choose the same
groups differ only in values, which Hydra lays over the composed config at the end. We let Hydra
compose each choice once, and lay the values over copies of it by Hydra's own function. The
first run of each choice is composed in both ways and compared; where they differ, Hydra alone
composes.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from launcher.errors import ConfigError
from launcher.hydra_config import editable

_NOT_SEPARABLE = (
    HydraException,
    OmegaConfBaseException,
    pickle.PicklingError,
    AttributeError,
    TypeError,
)


class SweepConfigs:
    """Configs of the runs of one Hydra command."""

    def __init__(self, loader: Any, master: DictConfig) -> None:
        self._loader = loader
        self._master = master
        self._parser = OverridesParser.create()
        self._bases: dict[tuple[str, ...], bytes | None] = {}
        """Composed choices, pickled; None where values alone do not make the difference."""
        self._groups: dict[str, bool] = {}

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """The config that Hydra would compose for `overrides`.

        Raises:
            HydraException: an override is wrong.
        """
        parsed = self._parser.parse_overrides(list(overrides))
        if any(o.is_hydra_override() or o.is_sweep_override() for o in parsed):
            return self._by_hydra(overrides)
        values = [override for override in parsed if not self._is_choice(override)]
        choices = tuple(o.input_line for o in parsed if self._is_choice(o) and o.input_line)
        if not values:
            return self._by_hydra(overrides)
        if choices not in self._bases:
            return self._first_of(choices, overrides, parsed, values)
        base = self._bases[choices]
        return self._by_hydra(overrides) if base is None else self._lay_over(base, parsed, values)

    def _by_hydra(self, overrides: Sequence[str]) -> DictConfig:
        config = self._loader.load_sweep_config(self._master, list(overrides))
        assert isinstance(config, DictConfig)
        return config

    def _first_of(
        self,
        choices: tuple[str, ...],
        overrides: Sequence[str],
        parsed: list[Any],
        values: list[Any],
    ) -> DictConfig:
        expected = self._by_hydra(overrides)
        try:
            base = pickle.dumps(self._by_hydra(choices))
            laid = self._lay_over(base, parsed, values)
            is_same = _plain(laid) == _plain(expected)
        except _NOT_SEPARABLE:
            # E.g. a mandatory value that only the overrides give, a class of an interactive
            # session. Hydra's own way is right then, and its errors are the user's.
            is_same = False
        self._bases[choices] = base if is_same else None
        return expected

    def _lay_over(self, base: bytes, parsed: list[Any], values: list[Any]) -> DictConfig:
        from hydra._internal import config_loader_impl

        config: DictConfig = pickle.loads(base)
        config_loader_impl.ConfigLoaderImpl._apply_overrides_to_config(values, config)
        with editable(config):
            config.hydra.overrides.task = [override.input_line for override in parsed]
            # Hydra 1.4 has a resolver in its place, which reads the overrides by itself.
            if hasattr(config_loader_impl, "get_overrides_dirname"):
                style = config.hydra.job.config.override_dirname
                config.hydra.job.override_dirname = config_loader_impl.get_overrides_dirname(
                    overrides=parsed,
                    kv_sep=style.kv_sep,
                    item_sep=style.item_sep,
                    exclude_keys=style.exclude_keys,
                )
        OmegaConf.copy_cache(from_config=self._master, to_config=config)
        return config

    def _is_choice(self, override: Any) -> bool:
        key = override.key_or_group
        if override.package is not None:
            return True
        if key not in self._groups:
            self._groups[key] = self._loader.repository.group_exists(key)
        return self._groups[key]


def refuse_empty(loader: Any, overrides: Sequence[str]) -> None:
    """Say why a sweep of these overrides holds no run: one of them stands for no value.

    Raises:
        ConfigError: always.
    """
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))
    for override in parsed:
        if override.is_discrete_sweep() and not list(override.sweep_string_iterator()):
            raise ConfigError(
                f"the sweep holds no run: `{override.input_line}` {_why_empty(loader, override)}"
            )
    raise ConfigError("the sweep holds no run")


def _why_empty(loader: Any, override: Any) -> str:
    if not isinstance(override.value(), Glob):
        return "stands for no value"
    options = loader.get_group_options(override.key_or_group)
    if not options:
        return f"matches nothing, as there is no group `{override.key_or_group}`"
    return f"matches none of: {', '.join(options)}"


def _plain(config: DictConfig) -> Any:
    return OmegaConf.to_container(config, resolve=False)
