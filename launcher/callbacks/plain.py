"""State as plain values on the CPU: what `torch.load(weights_only=True)` reads back, and no more.

A checkpoint must not be able to run code when it is loaded, so it holds no pickled objects.
"""

from __future__ import annotations

import collections
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf

from launcher.errors import LauncherError

_KIND = "__launcher__"
_ATOMS = (str, bytes, int, float, bool, complex, type(None), torch.dtype, torch.device, torch.Size)


def encode(value: Any, where: str = "") -> Any:
    """A copy of `value` with tensors on the CPU and other objects as tagged plain values.

    Args:
        value: Nested state.
        where: Its place, for messages.

    Raises:
        LauncherError: it holds something that is not data, such as a function.
    """
    if isinstance(value, torch.Tensor):
        # A copy even on the CPU: training goes on while it is written.
        return value.detach().to("cpu", copy=True)
    if type(value) in _ATOMS:
        return value
    if isinstance(value, np.generic):
        return {_KIND: "scalar", "dtype": str(value.dtype), "value": value.item()}
    if isinstance(value, np.ndarray):
        return _encode_array(value, where)
    if isinstance(value, Path):
        return {_KIND: "path", "value": str(value)}
    if OmegaConf.is_config(value):
        return encode(OmegaConf.to_container(value, resolve=False), where)
    if isinstance(value, dict):
        return _encode_dict(value, where)
    if isinstance(value, (list, tuple, set, frozenset, collections.deque)):
        return _encode_sequence(value, where)
    if isinstance(value, (str, int, float)):  # enums and other subclasses
        return next(kind(value) for kind in (str, int, float) if isinstance(value, kind))
    raise LauncherError(
        f"the training state holds a `{type(value).__name__}` at `{where or '.'}`, which cannot be"
        " kept in a checkpoint that is safe to load",
        hint="keep tensors, numbers, strings, lists and dicts in state_dict() and"
        " on_save_checkpoint()",
    )


def _encode_array(value: np.ndarray[Any, Any], where: str) -> Any:
    if value.dtype.hasobject or value.dtype.names:
        raise LauncherError(f"the training state holds an array of {value.dtype} at `{where}`")
    raw = np.frombuffer(np.ascontiguousarray(value).tobytes(), np.uint8).copy()
    shape, dtype = list(value.shape), value.dtype.str
    return {_KIND: "array", "dtype": dtype, "shape": shape, "value": torch.from_numpy(raw)}


def _encode_dict(value: dict[Any, Any], where: str) -> Any:
    for key in value:
        if not _is_plain_key(key):
            raise LauncherError(
                f"the training state has a key {key!r} of type `{type(key).__name__}` at"
                f" `{where or '.'}`, which cannot be kept in a checkpoint that is safe to load",
                hint="use strings or numbers as keys of what state_dict() returns",
            )
    items = {k: encode(v, f"{where}.{k}" if where else str(k)) for k, v in value.items()}
    if isinstance(value, collections.OrderedDict):
        return collections.OrderedDict(items)
    return items


def _is_plain_key(key: Any) -> bool:
    if type(key) is tuple:
        return all(map(_is_plain_key, key))
    return type(key) in (str, int, float, bool, type(None))


def _encode_sequence(value: Any, where: str) -> Any:
    items = [encode(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, (list, tuple)):
        return items if isinstance(value, list) else tuple(items)
    return {_KIND: type(value).__name__, "value": items}


def decode(value: Any) -> Any:
    """What `encode` was given, but for configs and subclasses, which stay plain."""
    if isinstance(value, dict):
        if _KIND in value:
            return _decode_tagged(value)
        items = {key: decode(item) for key, item in value.items()}
        is_ordered = isinstance(value, collections.OrderedDict)
        return collections.OrderedDict(items) if is_ordered else items
    if isinstance(value, list):
        return [decode(item) for item in value]
    if type(value) is tuple:
        return tuple(decode(item) for item in value)
    return value


def _decode_tagged(tagged: dict[str, Any]) -> Any:
    kind, value = tagged[_KIND], tagged["value"]
    if kind == "scalar":
        return np.dtype(tagged["dtype"]).type(value)
    if kind == "array":
        flat = np.frombuffer(value.numpy().tobytes(), np.dtype(tagged["dtype"]))
        return flat.reshape(tagged["shape"]).copy()
    if kind == "path":
        return Path(value)
    kinds: dict[str, Any] = {
        "set": set,
        "frozenset": frozenset,
        "deque": collections.deque,
    }
    return kinds[kind](decode(value))
