"""Files of NAVSIM's feature caches: gzipped pickles of a table of tensors, read without trust."""

from __future__ import annotations

import gzip
import io
import pickle
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.data.errors import DataError
from experiments.data.logs import SAFE_GLOBALS

_TENSOR = {
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch", "device"),
    ("torch.serialization", "_get_layout"),
}


class _TensorUnpickler(pickle.Unpickler):
    """Rebuilds tensors and arrays; whatever else a pickle refers to is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return _storage
        if (module, name) in _TENSOR or name in SAFE_GLOBALS.get(module, ()):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it refers to `{module}.{name}`, which no cache needs")


def _storage(content: bytes) -> Any:
    """Read a tensor's values. Torch's own function of that name would run code of the file."""
    import torch

    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def read_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """Return the tensors of a file as arrays.

    Raises:
        FileNotFoundError: it is not there.
        DataError: it is torn, refers to code, or holds no tensors.
    """
    try:
        with gzip.open(path, "rb") as file:
            table = _TensorUnpickler(io.BytesIO(file.read())).load()
    except FileNotFoundError:
        raise
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"the cached features `{path}` are torn: {error}") from error
    except Exception as error:  # a torn pickle raises almost anything
        raise DataError(
            f"the cached features `{path}` are torn or no such file: {error}"
        ) from error
    if not isinstance(table, dict):
        raise DataError(f"`{path}` is not a table of tensors")
    return {str(name): _array(path, str(name), value) for name, value in table.items()}


def _array(path: Path, name: str, value: Any) -> NDArray[Any]:
    if isinstance(value, np.ndarray):
        return value
    if hasattr(value, "numpy") and hasattr(value, "detach"):
        array: NDArray[Any] = value.detach().cpu().numpy()
        return array
    raise DataError(f"`{name}` in `{path}` is a {type(value).__name__}, not a tensor")
