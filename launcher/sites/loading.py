"""Reads a cluster profile from its file, with the files that it builds on."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from launcher.errors import ConfigError, nearest
from launcher.settings import ClusterConfig


def find(name: str, folder: Path) -> Path:
    """The file of a profile by its name in a folder, or by its path.

    Raises:
        ConfigError: there is none.
    """
    for path in (Path(name), folder / f"{name}.yaml"):
        if path.is_file():
            return path
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    match = nearest(name, known)
    hint = f"did you mean {match}?" if match else "`launch cluster discover` writes one"
    listed = f"; `{folder}` has {', '.join(known)}" if known else ""
    raise ConfigError(f"there is no cluster profile `{name}`{listed}", hint=hint)


def read(path: Path) -> ClusterConfig:
    """The profile with its defaults.

    Raises:
        ConfigError: a key or value is wrong, or a file that it builds on is not there.
    """
    try:
        config = OmegaConf.merge(OmegaConf.structured(ClusterConfig), _merged(path, ()))
        found = OmegaConf.to_object(config)
    except (OmegaConfBaseException, YAMLError) as error:
        said = str(error).strip().splitlines()[0]
        raise ConfigError(f"the profile `{path}` is wrong: {said}") from error
    assert isinstance(found, ClusterConfig)
    return found


def _merged(path: Path, above: tuple[Path, ...]) -> DictConfig:
    """The file over those that its `defaults` name, as Hydra reads them."""
    if not path.is_file() or path in above:
        raise ConfigError(f"`{above[-1]}` builds on `{path.stem}`, which cannot be read")
    own = OmegaConf.load(path)
    if not isinstance(own, DictConfig):
        raise ConfigError(f"the profile `{path}` holds no keys")
    names = [str(name) for name in own.pop("defaults", [])]
    names = [*names, *([] if "_self_" in names else ["_self_"])]
    layers = [
        own if name == "_self_" else _merged(path.with_name(f"{name}.yaml"), (*above, path))
        for name in names
    ]
    merged = OmegaConf.merge(*layers)
    assert isinstance(merged, DictConfig)
    return merged
