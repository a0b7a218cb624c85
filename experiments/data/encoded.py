"""Camera images as the bytes of their files, for `data.decode=gpu`. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import ExifTags, Image

from experiments.data.errors import DataError

_BEGIN, _END = b"\xff\xd8", b"\xff\xd9"
"""Markers around a JPEG."""
_PADDING = b"\0\t\n\r "
_EXIF, _LONGEST_SEGMENTS = b"Exif\0\0", 1 << 17
"""How EXIF begins, and where in a file, at the latest."""


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
            DataError: one is missing, does not begin and end as a JPEG does (a GPU makes an image
                of half a file, too), or is to be turned (a GPU's decoder would).
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
    if not content.rstrip(_PADDING).endswith(_END):
        raise DataError(f"the camera image `{path}` is torn: its end is missing")
    if _is_turned(content):
        raise DataError(
            f"the camera image `{path}` is turned by its EXIF orientation, which other ways of"
            " decoding ignore",
            hint="use data.decode=full, or remove the orientation",
        )
    return content


def _is_turned(content: bytes) -> bool:
    if content.find(_EXIF, 0, _LONGEST_SEGMENTS) < 0:
        return False  # as cameras of cars have none
    with Image.open(BytesIO(content)) as image:
        return bool(image.getexif().get(ExifTags.Base.Orientation, 1) != 1)
