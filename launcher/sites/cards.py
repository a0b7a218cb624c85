"""Memory of well-known GPUs by the word for them in `--gres`, as their makers state it."""

from __future__ import annotations

import re

_MEM_GB = {
    "k80": 12, "p100": 16, "t4": 16, "l4": 24, "a2": 16, "a10": 24, "a10g": 24, "a16": 16,
    "a30": 24, "a40": 48, "l40": 48, "l40s": 48, "h200": 141, "b200": 180, "gh200": 96,
    "mi210": 64, "mi250": 64, "mi250x": 64, "mi300x": 192,
    "rtx2080ti": 11, "rtx3080": 10, "rtx3090": 24, "rtx4090": 24, "rtx5090": 32,
    "rtxa4000": 16, "rtxa5000": 24, "rtxa6000": 48, "rtx6000ada": 48,
    "h100": 80, "h100nvl": 94,
}  # fmt: skip
# Sold in several sizes, so that the word alone tells nothing: a100 (40, 80), v100 (16, 32),
# rtx6000 (24, 48, 96).
_BRANDS = ("nvidia", "geforce", "tesla", "quadro", "amd", "instinct", "gpu")


def mem_gb(gpu_type: str | None) -> int | None:
    """Memory of one GPU [GB], or None where the word does not tell.

    A part of a GPU (MIG) says itself how much it has, e.g. `a100_3g.20gb`; so do some words for
    whole ones, e.g. `nvidia_a100_80gb_pcie`.
    """
    if not gpu_type:
        return None
    word = gpu_type.lower()
    said = re.search(r"(\d+)gb\b|(\d+)gb_", word)
    if said:
        return int(said.group(1) or said.group(2))
    parts = [part for part in re.split(r"[_\-.\s]+", word) if part and part not in _BRANDS]
    joined = "".join(parts)
    if joined in _MEM_GB:
        return _MEM_GB[joined]
    return next((_MEM_GB[part] for part in parts if part in _MEM_GB), None)
