"""Point clouds in the PCD format (pointclouds.org): ascii and binary, any plain fields."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.data.errors import DataError

POINT = np.dtype(
    [("x", "<f4"), ("y", "<f4"), ("z", "<f4"),
     ("intensity", "u1"), ("ring", "u1"), ("lidar_info", "u1")]
)  # fmt: skip
"""Record of a merged OpenScene point cloud; metres, ego frame."""
_TYPES = {"F": "f", "I": "i", "U": "u"}


def encode(points: NDArray[np.void]) -> bytes:
    """Return a binary PCD file of a record array with scalar fields."""
    fields = [(name, points.dtype[name]) for name in points.dtype.names or ()]
    header = [
        "# .PCD v0.7 - Point Cloud Data file format",
        "VERSION 0.7",
        "FIELDS " + " ".join(name for name, _ in fields),
        "SIZE " + " ".join(str(kind.itemsize) for _, kind in fields),
        "TYPE " + " ".join(kind.kind.upper() for _, kind in fields),
        "COUNT " + " ".join("1" for _ in fields),
        f"WIDTH {len(points)}",
        "HEIGHT 1",
        "VIEWPOINT 0 0 0 1 0 0 0",
        f"POINTS {len(points)}",
        "DATA binary",
    ]
    return "\n".join(header).encode() + b"\n" + points.tobytes()


def read(path: Path) -> NDArray[np.void]:
    """Return the points of a PCD file as a record array with the file's field names.

    Raises:
        DataError: the file is missing, torn, not PCD, or compressed.
    """
    try:
        return _decode(path.read_bytes())
    except OSError as error:
        raise DataError(f"cannot read the point cloud `{path}`: {error.strerror}") from error
    except (ValueError, KeyError, IndexError) as error:
        raise DataError(f"`{path}` is not a whole PCD file: {error}") from error
    except NotImplementedError as error:
        raise DataError(
            f"`{path}` is stored as {error}",
            hint="convert it: pcl_convert_pcd_ascii_binary in.pcd out.pcd 1",
        ) from error


def _decode(content: bytes) -> NDArray[np.void]:
    header: dict[str, list[str]] = {}
    stream = BytesIO(content)
    while "DATA" not in header:
        line = stream.readline()
        if not line:
            raise ValueError("the header has no DATA line")
        words = line.decode("ascii").split()
        if words and not words[0].startswith("#"):
            header[words[0].upper()] = words[1:]
    dtype = _dtype(header)
    count = int(header["POINTS"][0])
    form = header["DATA"][0].lower()
    if form == "binary":
        return _binary(stream.read(), dtype, count)
    if form == "ascii":
        return _ascii(stream.read(), dtype, count)
    raise NotImplementedError(form)


def _dtype(header: dict[str, list[str]]) -> np.dtype[np.void]:
    counts = header.get("COUNT", ["1"] * len(header["FIELDS"]))
    parts: list[tuple[str, str, tuple[int, ...]]] = []
    columns = (header["FIELDS"], header["SIZE"], header["TYPE"], counts)
    for name, size, kind, count in zip(*columns, strict=True):
        shape = () if int(count) == 1 else (int(count),)
        parts.append((name, f"<{_TYPES[kind.upper()]}{int(size)}", shape))
    return np.dtype(parts)


def _binary(content: bytes, dtype: np.dtype[np.void], count: int) -> NDArray[np.void]:
    wanted = count * dtype.itemsize
    if len(content) < wanted:
        raise ValueError(f"{len(content)} of {wanted} bytes of points")
    return np.frombuffer(content, dtype, count)


def _ascii(content: bytes, dtype: np.dtype[np.void], count: int) -> NDArray[np.void]:
    if dtype.names is None or any(dtype[name].shape for name in dtype.names):
        raise ValueError("ascii fields with COUNT above 1 are not supported")
    rows = [tuple(line.split()) for line in content.decode("ascii").splitlines() if line.strip()]
    if len(rows) != count:
        raise ValueError(f"{len(rows)} of {count} points")
    table = np.array(rows, dtype=np.float64).reshape(count, len(dtype.names))
    points = np.empty(count, dtype)
    for column, name in enumerate(dtype.names):
        points[name] = table[:, column]
    return points
