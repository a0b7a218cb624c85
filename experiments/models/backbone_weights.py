"""Reads state dicts of encoders from files, and loads them as a whole or not at all."""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from experiments.data.errors import listed
from launcher.errors import ConfigError

_NAMED = 4
"""Parameters that a message names before it counts the rest."""

CLASSIFIERS = ("head.weight", "head.bias", "head.fc.weight", "head.fc.bias", "fc.weight", "fc.bias")
"""The class predictor of models that timm trained; never part of an encoder."""


def read_file(path: Path) -> dict[str, Any]:
    """Return what a checkpoint holds; tensors are mapped, not read, and code is never run.

    Raises:
        ConfigError: the file is missing, torn, no checkpoint, or one with code in it.
    """
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        # Files may also hold optimiser moments; mapped, those are never read from disk. Files of
        # before torch 1.6 are no archives and cannot be mapped.
        mapped = zipfile.is_zipfile(path)
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except FileNotFoundError as error:
        raise ConfigError(
            f"`backbone.weights={path}`: there is no such file",
            hint="give the path of a checkpoint, or backbone.weights=none",
        ) from error
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(
            f"`backbone.weights={path}` cannot be read as plain weights: {reason}",
            hint="the file is torn, no checkpoint, or holds more than tensors and numbers; compare"
            " its checksum with that of the release",
        ) from error
    if not isinstance(content, dict):
        raise ConfigError(
            f"`backbone.weights={path}` holds {type(content).__name__}, not a state dict",
            hint="save model.state_dict()",
        )
    return content


def require_state(path: Path, state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the state as it is if it is a flat dict of 32-bit tensors.

    Raises:
        ConfigError: it is the checkpoint of a Trainer, is nested, or is of another dtype.
    """
    if "pytorch-lightning_version" in state:
        raise ConfigError(
            f"`backbone.weights={path}` is a checkpoint of a Lightning training, not an encoder",
            hint="its planner is read by task=evaluate; encoders come from task=pretrain or a"
            " release",
        )
    others = sorted(str(name) for name, value in state.items() if not isinstance(value, Tensor))
    if others:
        raise ConfigError(
            f"`backbone.weights={path}` is no flat state dict: {', '.join(others[:5])} are no"
            " tensors",
            hint="is it in another backbone.weights_format?",
        )
    odd = sorted({str(value.dtype) for value in state.values() if _is_odd(value)})
    if odd:
        raise ConfigError(
            f"`backbone.weights={path}` holds {', '.join(odd)}; weights must be torch.float32",
            hint="convert the file on purpose, {name: value.float() ...}; computing in bfloat16 is"
            " set by trainer.precision",
        )
    return dict(state)


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Load a state whose names and shapes must all be those of the module.

    Raises:
        ConfigError: they are not; the message lists which.
    """
    own = module.state_dict()
    check_names(path, state, own)
    wrong = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(value.shape)}"
        for name, value in own.items()
        if state[name].shape != value.shape
    ]
    if wrong:
        raise ConfigError(
            f"shapes in `{path}` do not fit the backbone: {listed(wrong, _NAMED)}",
            hint="widths, depth and patches of `backbone` must be those of the file",
        )
    module.load_state_dict(state, strict=True)


def load_timm(module: nn.Module, path: Path) -> str:
    """Load a state dict of timm, less its classifier; return the SHA-256 of the file."""
    state = timm_state(path)
    load_strictly(module, state, path)
    return sha256(path)


def timm_state(path: Path) -> dict[str, Tensor]:
    """Return the state dict of a timm model without its class predictor."""
    state = require_state(path, read_file(path))
    return {name: value for name, value in state.items() if name not in CLASSIFIERS}


def check_names(path: Path, state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Raise ConfigError unless both have the same names."""
    missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if missing or unexpected:
        lacks, has = (listed(names, _NAMED) or "nothing" for names in (missing, unexpected))
        raise ConfigError(
            f"weights in `{path}` do not fit the backbone: missing {lacks}, unexpected {has}",
            hint="`backbone.depth` and `backbone.weights_format` must be those of the file",
        )


def sha256(path: Path) -> str:
    """Return the digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_odd(value: Tensor) -> bool:
    # Counters of batch normalisation are whole numbers.
    return value.dtype != torch.float32 and not (value.ndim == 0 and value.dtype == torch.int64)
