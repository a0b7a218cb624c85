"""Checks of a composed run on the submitting machine. Imports no torch."""

from __future__ import annotations

from typing import Any

from experiments.settings import from_config


def check(config: Any) -> None:
    """Refuse values that no schema can refuse, and data that is not there.

    Raises:
        ConfigError: what is wrong with which key.
    """
    from_config(config)
