"""Camera images as the bytes of their files, for `data.decode=gpu`. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.data.errors import DataError

_BEGIN, _END = b"\xff\xd8", b"\xff\xd9"
"""Markers around a JPEG."""


@dataclass(frozen=True, slots=True)
class Panorama:
    """What is made of the images of a window."""

    cameras: tuple[str, ...]
    """From left to right."""
    hw: tuple[int, int]
    """Its size [px]."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """JPEG files of one window, one for each camera."""

    panorama: Panorama
    paths: tuple[str, ...]
    files: tuple[bytes, ...]

    @classmethod
    def read(cls, paths: Sequence[Path], panorama: Panorama) -> Encoded:
        """Read files.

        Raises:
            DataError: one is missing, or does not begin and end as a JPEG does: a GPU makes an
                image of half a file, too.
        """
        return cls(panorama, tuple(map(str, paths)), tuple(map(_read, paths)))


def _read(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"the camera image `{path}` is missing") from error
    except OSError as error:
        raise DataError(f"the camera image `{path}` cannot be read: {error}") from error
    if not content.startswith(_BEGIN):
        raise DataError(
            f"the camera image `{path}` is torn or no JPEG",
            hint="other images than JPEG can be read with data.decode=full",
        )
    if not content.rstrip(b"\0").endswith(_END):
        raise DataError(f"the camera image `{path}` is torn: its end is missing")
    return content
