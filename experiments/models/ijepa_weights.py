"""Reads I-JEPA encoders out of files in the layouts in which they are released.

`official` files are dicts with `encoder`, `target_encoder`, `predictor`, `epoch` and more; names
inside start with `module.`. `timm` and `huggingface` files are state dicts of one model. Which
encoder is meant is always said, never guessed: the paper evaluates the target encoder, while
both libraries converted the context encoder.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor, nn

from experiments.models.backbone_weights import (
    check_names,
    load_strictly,
    read_file,
    require_state,
    sha256,
    timm_state,
)
from experiments.models.ijepa_huggingface import renamed
from experiments.models.positions import sincos_positions
from launcher.errors import ConfigError

PREFIX = "module."
POSITIONS = "pos_embed"
PATCHES = "patch_embed.proj.weight"


def load_encoder(
    encoder: nn.Module, path: Path, *, which: str, layout: str, grid_hw: tuple[int, int]
) -> str:
    """Load `which` encoder of the file into `encoder`; return the SHA-256 of the file.

    Args:
        encoder: Takes the weights; its state names are the official ones.
        path: The checkpoint.
        which: `target_encoder` or `encoder`.
        layout: `official`, `timm` or `huggingface`.
        grid_hw: Rows and columns of the encoder's patch grid.

    Raises:
        ConfigError: The file has no such encoder, or names, shapes or types differ.
    """
    state = _read(path, which, layout)
    own = encoder.state_dict()
    check_names(path, state, own)
    _check_patches(path, state[PATCHES], own[PATCHES])
    state[POSITIONS] = _positions(path, state[POSITIONS], own[POSITIONS], grid_hw)
    load_strictly(encoder, state, path)
    return sha256(path)


def _read(path: Path, which: str, layout: str) -> dict[str, Tensor]:
    if layout == "timm":
        return timm_state(path)
    content = read_file(path)
    if layout == "huggingface":
        return renamed(require_state(path, content))
    if "pytorch-lightning_version" not in content and which not in content:
        raise ConfigError(
            f"`{path}` has no `{which}`; it holds {', '.join(sorted(map(str, content))[:8])}",
            hint="an official I-JEPA checkpoint holds `encoder`, `predictor` and `target_encoder`;"
            " a state dict of a library needs backbone.weights_format=timm or huggingface",
        )
    state = require_state(path, content.get(which, content))
    return {name.removeprefix(PREFIX): value for name, value in state.items()}


def _check_patches(path: Path, theirs: Tensor, ours: Tensor) -> None:
    if theirs.shape[0] != ours.shape[0]:
        raise ConfigError(
            f"`{path}` holds an encoder of width {theirs.shape[0]}, the backbone has width"
            f" {ours.shape[0]}",
            hint=f"use backbone.embed_dim={theirs.shape[0]}",
        )
    if theirs.shape[2] != ours.shape[2]:
        raise ConfigError(
            f"`{path}` holds patches of {theirs.shape[2]} px, the backbone has patches of"
            f" {ours.shape[2]} px",
            hint=f"use backbone.patch_px={theirs.shape[2]}",
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
