"""Reads encoders out of checkpoints in the layout of the official I-JEPA release.

Such a file is a dict with `encoder`, `target_encoder`, `predictor`, `epoch` and more; names
inside start with `module.`. Which encoder is meant is always said, never guessed: the paper
evaluates the target encoder, while common conversions took the context encoder.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from experiments.models.positions import sincos_positions
from launcher.errors import ConfigError

PREFIX = "module."
POSITIONS = "pos_embed"
PATCHES = "patch_embed.proj.weight"


def load_encoder(encoder: nn.Module, path: Path, *, which: str, grid_hw: tuple[int, int]) -> str:
    """Load `which` encoder of the file into `encoder`; return the SHA-256 of the file.

    Args:
        encoder: Takes the weights; its state names are the official ones.
        path: The checkpoint.
        which: `target_encoder` or `encoder`.
        grid_hw: Rows and columns of the encoder's patch grid.

    Raises:
        ConfigError: The file has no such encoder, or names or shapes differ.
    """
    state = _read(path, which)
    own = encoder.state_dict()
    _check_names(path, which, state, own)
    _check_shapes(path, state, own)
    state[POSITIONS] = _positions(path, state[POSITIONS], own[POSITIONS], grid_hw)
    encoder.load_state_dict(state, strict=True)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path, which: str) -> dict[str, Tensor]:
    # Official files also hold optimiser moments; mapped, those are never read from disk.
    checkpoint: Mapping[str, Any] = torch.load(
        path, map_location="cpu", weights_only=True, mmap=True
    )
    if which not in checkpoint:
        raise ConfigError(
            f"`{path}` has no `{which}`; it holds {', '.join(sorted(map(str, checkpoint)))}",
            hint="an I-JEPA checkpoint holds `encoder`, `predictor` and `target_encoder`",
        )
    return {name.removeprefix(PREFIX): value for name, value in checkpoint[which].items()}


def _check_names(
    path: Path, which: str, state: Mapping[str, Tensor], own: Mapping[str, Tensor]
) -> None:
    missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if missing or unexpected:
        raise ConfigError(
            f"`{which}` in `{path}` does not fit the backbone: missing {missing or 'nothing'},"
            f" unexpected {unexpected or 'nothing'}",
            hint="`backbone.depth` must be that of the pretrained encoder",
        )


def _check_shapes(path: Path, state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    theirs, ours = state[PATCHES].shape, own[PATCHES].shape
    if theirs[0] != ours[0]:
        raise ConfigError(
            f"`{path}` holds an encoder of width {theirs[0]}, the backbone has width {ours[0]}",
            hint=f"use backbone.embed_dim={theirs[0]}",
        )
    if theirs[2] != ours[2]:
        raise ConfigError(
            f"`{path}` holds patches of {theirs[2]} px, the backbone has patches of {ours[2]} px",
            hint=f"use backbone.patch_px={theirs[2]}",
        )
    wrong = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own
        if name != POSITIONS and state[name].shape != own[name].shape
    ]
    if wrong:
        raise ConfigError(
            f"shapes in `{path}` do not fit the backbone: {'; '.join(wrong)}",
            hint="`backbone.mlp_ratio` must be that of the pretrained encoder",
        )


def _positions(path: Path, theirs: Tensor, ours: Tensor, grid_hw: tuple[int, int]) -> Tensor:
    """Return the table for the backbone's grid, stretched if the file's grid is another one."""
    width = ours.shape[2]
    if theirs.shape == ours.shape:
        trained_hw = grid_hw
    else:
        side = math.isqrt(theirs.shape[1])
        trained_hw = (side, side)
    expected = sincos_positions(width, trained_hw)
    if expected.shape != theirs.shape or not torch.allclose(theirs, expected, atol=1e-3):
        raise ConfigError(
            f"positions in `{path}` are not those of a {trained_hw[0]} x {trained_hw[1]} grid",
            hint=f"the backbone has {grid_hw[0]} x {grid_hw[1]} patches; other grids can only be"
            " recognised if they are square",
        )
    return sincos_positions(width, grid_hw, trained_hw=trained_hw)
