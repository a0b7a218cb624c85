"""Rectangles on a plane: where their corners are, and whether two overlap."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Boxes:
    """Rectangles; tensors of one shape, or that broadcast to one."""

    x: Tensor
    """Centre [m], as `y`."""
    y: Tensor
    cos: Tensor
    """Of the heading, as `sin`."""
    sin: Tensor
    half_length: Tensor | float
    half_width: Tensor | float


def overlap(one: Boxes, other: Boxes) -> Tensor:
    """Return whether rectangles share a point; touching counts, as in `shapely.intersects`.

    Two convex shapes are apart if and only if one of the normals of their sides separates them. A
    rectangle without length is a segment, and is treated rightly.
    """
    dx, dy = other.x - one.x, other.y - one.y
    cos = (one.cos * other.cos + one.sin * other.sin).abs()
    sin = (one.cos * other.sin - one.sin * other.cos).abs()
    apart = (dx * one.cos + dy * one.sin).abs() > (
        one.half_length + other.half_length * cos + other.half_width * sin
    )
    apart |= (dy * one.cos - dx * one.sin).abs() > (
        one.half_width + other.half_length * sin + other.half_width * cos
    )
    apart |= (dx * other.cos + dy * other.sin).abs() > (
        other.half_length + one.half_length * cos + one.half_width * sin
    )
    apart |= (dy * other.cos - dx * other.sin).abs() > (
        other.half_width + one.half_length * sin + one.half_width * cos
    )
    return ~apart


def corners(boxes: Boxes) -> Tensor:
    """Return (..., 4, 2): front left, rear left, rear right, front right."""
    ax, ay = boxes.half_length * boxes.cos, boxes.half_length * boxes.sin
    lx, ly = -boxes.half_width * boxes.sin, boxes.half_width * boxes.cos
    x = torch.stack([ax + lx, lx - ax, -ax - lx, ax - lx], dim=-1) + boxes.x[..., None]
    y = torch.stack([ay + ly, ly - ay, -ay - ly, ay - ly], dim=-1) + boxes.y[..., None]
    return torch.stack([x, y], dim=-1)
