"""What is wrong with how runs are to be tracked, before any is sent. Listed in `validate`."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from omegaconf import OmegaConf

from launcher.errors import ConfigError
from launcher.tracking.cleaning import secrets_in
from launcher.tracking.settings import TrackingConfig, from_container


def check(config: Any) -> None:
    """Refuse settings that W&B would refuse, and secrets anywhere in a config.

    Raises:
        ConfigError: a setting is wrong, or a value is a secret by its name.
    """
    plain = OmegaConf.to_container(config, resolve=False)
    assert isinstance(plain, dict)
    tracking: Any = OmegaConf.to_container(config.tracking, resolve=True)
    _require_packages(from_container(tracking))
    # Variables of jobs are part of hydra.launcher too, which repeats the cluster's.
    found = secrets_in({str(k): v for k, v in plain.items() if k != "hydra"})
    if found:
        raise ConfigError(
            f"`{found[0]}` is a secret by its name: a config is frozen, recorded and published",
            hint="`wandb login`, or a variable of your shell, which jobs inherit; make a new one"
            " if this one was pushed anywhere",
        )


def _require_packages(settings: TrackingConfig) -> None:
    wanted = {"tensorboard": settings.tensorboard, "wandb": settings.wandb.is_on}
    for package, is_wanted in wanted.items():
        if is_wanted and find_spec(package) is None:
            raise ConfigError(
                f"`tracking` wants {package}, which is not installed", hint=f"pip install {package}"
            )
