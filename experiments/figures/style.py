"""One look for all figures; matplotlib is loaded at the first drawing and needs no display."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from launcher.errors import one_of

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe-Ito: told apart by colour-blind readers too."""
MARKERS = ("o", "s", "^", "D", "v", "P")
LINES = ("-", "--", ":", "-.")
"""Taken in turn where there are more arms than colours."""
GREY = "0.45"
"""Of what is no contender: levels, controls, zero."""

COLUMN_IN = 8 / 2.54
"""Width of a column of a paper, 8 cm [inch]."""
PAGE_IN = 17 / 2.54
"""Width of a page of a paper, 17 cm [inch]."""
SUFFIXES = ("png", "svg", "pdf")
_PALETTE = 256
"""Colours of a picture that is made small."""

_RULES: dict[Any, Any] = {
    "font.size": 7.0,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7.0,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.0,
    "legend.frameon": False,
    "legend.handlelength": 2.0,
    "legend.columnspacing": 1.2,
    # Type 42 is what publishers take; type 3 is matplotlib's own choice.
    "pdf.fonttype": 42,
    "svg.hashsalt": "fixed",
}


def arm_style(index: int) -> dict[str, Any]:
    """Colour, marker and line of the `index`-th arm of a figure."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": LINES[index // len(COLOURS) % len(LINES)],
    }


@contextmanager
def page(width_in: float, height_in: float, *, text_pt: float = 7.0) -> Iterator[Any]:
    """An empty figure of this size in the common look, which holds while it is drawn and saved.

    Other text sizes keep their ratio to `text_pt`.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    ratio = text_pt / _RULES["font.size"]
    texts = {name: size * ratio for name, size in _RULES.items() if name.endswith("size")}
    with mpl.rc_context({**_RULES, **texts}):
        yield Figure(figsize=(width_in, height_in), dpi=300, layout="constrained")


def content(figure: Any, suffix: str) -> bytes:
    """The figure as a file; the same figure gives the same bytes.

    Raises:
        ConfigError: `suffix` is none of SUFFIXES.
    """
    one_of("suffix", suffix, SUFFIXES)
    written = io.BytesIO()
    # It tells an application that logs at INFO of every glyph.
    logging.getLogger("fontTools").setLevel(logging.WARNING)
    dated = {"png": None, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    figure.savefig(written, format=suffix, metadata=dated[suffix])
    return written.getvalue()


def for_screen(png: bytes, width_px: int = 720) -> bytes:
    """A PNG made small enough for a page or a notebook: narrower, and with a palette of colours."""
    from PIL import Image

    with Image.open(io.BytesIO(png)) as image:
        size = (width_px, round(image.height * width_px / image.width))
        smaller = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    written = io.BytesIO()
    few = smaller.quantize(_PALETTE, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    few.save(written, format="PNG", optimize=True)
    return written.getvalue()


def tidy(axes: Any, *, grid: str = "y") -> None:
    """Take the frame off at the top and on the right, and lay a faint grid below the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)


def columns_that_fit(labels: Iterable[str], width_in: float) -> int:
    """Columns of a legend with these labels, by the width of letters at the common size."""
    widest = max(map(len, labels))
    return max(1, int(width_in / (0.048 * widest + 0.42)))
