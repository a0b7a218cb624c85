"""Which polygons hold which points, for millions of points.

Where there are many points, a grid of small cells over them tells the cells that no edge touches,
each all inside a polygon or all outside. Only points in the other cells are compared with edges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from experiments.data.frames import Floats
from experiments.scoring.pdm.slabs import Slabs, cut

WORD_BITS = 62
"""Polygons of one int64; the sign bit is left alone."""
GRID_POINTS = 50_000
"""Fewer points are told by bounding boxes sooner than a grid is made."""
CELL_M = 0.25
MAX_CELLS = 200_000
_MARGIN_M = 1e-6
"""By which edges are taken to be thicker than they are, far beyond rounding."""


class Polygons:
    """A set of rings that can be asked which of them hold points."""

    def __init__(self, rings: list[Floats], device: torch.device) -> None:
        self.rings = rings
        self.words = -(-len(rings) // WORD_BITS)
        self.device = device
        self._slabs: dict[int, Slabs] = {}
        boxes = np.array([[ring.min(axis=0), ring.max(axis=0)] for ring in rings])
        self._boxes = torch.from_numpy(boxes).to(device)

    def bits(self, chosen: list[bool]) -> Tensor:
        """Return (W,) words in which the chosen rings are set."""
        words = [0] * self.words
        for number in np.flatnonzero(chosen).tolist():
            words[number // WORD_BITS] |= 1 << (number % WORD_BITS)
        return torch.tensor(words, dtype=torch.int64, device=self.device)

    def holding(self, points: Tensor) -> Tensor:
        """Return (N, W) words: bit b of word w is set if ring 62 w + b holds the point inside."""
        if len(points) < GRID_POINTS:
            return self._exact(points)
        grid = Grid.over(points)
        touched, words = self._cells(grid)
        cell = grid.cell_of(points)
        result = words[cell]
        open_points = torch.nonzero(touched.any(dim=0)[cell])[:, 0]
        open_cells, near = cell[open_points], points[open_points]
        for number in range(len(self.rings)):
            asked = torch.nonzero(touched[number][open_cells])[:, 0]
            found = open_points[asked[self._contains(number, near[asked])]]
            result[found, number // WORD_BITS] |= 1 << (number % WORD_BITS)
        return result

    def _exact(self, points: Tensor) -> Tensor:
        result = torch.zeros(len(points), self.words, dtype=torch.int64, device=self.device)
        low, high = self._boxes[:, 0], self._boxes[:, 1]
        near = ((points[None] > low[:, None]) & (points[None] < high[:, None])).all(dim=-1)
        for number in range(len(self.rings)):
            asked = torch.nonzero(near[number])[:, 0]
            found = asked[self._contains(number, points[asked])]
            result[found, number // WORD_BITS] |= 1 << (number % WORD_BITS)
        return result

    def _cells(self, grid: Grid) -> tuple[Tensor, Tensor]:
        """Return what is known of cells.

        Returns:
            (N, cells) whether an edge of a ring may touch a cell, and (cells, W) words of the
            rings that hold the whole of it.
        """
        touched = torch.from_numpy(_touched(self.rings, grid)).to(self.device)
        words = torch.zeros(touched.shape[1], self.words, dtype=torch.int64, device=self.device)
        for number in range(len(self.rings)):
            inside = self._filled(number, ~touched[number], grid)
            words[:, number // WORD_BITS] |= inside.long() << (number % WORD_BITS)
        return touched, words

    def _filled(self, number: int, free: Tensor, grid: Grid) -> Tensor:
        """Return which of the (cells,) that no edge of a ring touches are inside it.

        Along a row, such cells are alike until an edge comes: the first of each run is told, and
        the others follow it.
        """
        free = free.reshape(grid.rows, grid.columns)
        first = free.clone()
        first[:, 1:] &= ~free[:, :-1]
        row, column = torch.nonzero(first, as_tuple=True)
        inside = torch.zeros_like(free)
        inside[row, column] = self._contains(number, grid.centre(row, column))
        columns = torch.arange(grid.columns, device=free.device)
        leader = torch.where(first, columns, 0).cummax(dim=1).values
        return (inside.gather(1, leader) & free).reshape(-1)

    def _contains(self, number: int, points: Tensor) -> Tensor:
        """Return which points a ring holds; rings far from all points are never cut."""
        if not len(points):
            return torch.zeros(0, dtype=torch.bool, device=self.device)
        if number not in self._slabs:
            self._slabs[number] = cut(self.rings[number], self.device)
        return self._slabs[number].contains(points)


@dataclass(frozen=True, slots=True)
class Grid:
    """Square cells from the lower left corner `x0`, `y0` [m]."""

    x0: float
    y0: float
    cell_m: float
    rows: int
    columns: int

    @classmethod
    def over(cls, points: Tensor) -> Grid:
        """Return a grid that covers (N, 2) points, of at most about `MAX_CELLS` cells."""
        low = (points.amin(dim=0) - 1e-3).tolist()
        high = (points.amax(dim=0) + 1e-3).tolist()
        width, height = high[0] - low[0], high[1] - low[1]
        # The longer side alone may not take more than all cells either.
        cell_m = max(CELL_M, (width * height / MAX_CELLS) ** 0.5, max(width, height) / MAX_CELLS)
        return cls(low[0], low[1], cell_m, int(height / cell_m) + 1, int(width / cell_m) + 1)

    def cell_of(self, points: Tensor) -> Tensor:
        """Return the (N,) numbers of the cells of (N, 2) points, all within."""
        column = ((points[:, 0] - self.x0) / self.cell_m).long()
        row = ((points[:, 1] - self.y0) / self.cell_m).long()
        return row * self.columns + column

    def centre(self, row: Tensor, column: Tensor) -> Tensor:
        """Return the (N, 2) centres [m] of cells."""
        x = self.x0 + (column + 0.5) * self.cell_m
        y = self.y0 + (row + 0.5) * self.cell_m
        return torch.stack([x, y], dim=-1).double()


def _touched(rings: list[Floats], grid: Grid) -> NDArray[np.bool_]:
    """Return (N, cells) bools: an edge of the ring may touch the cell.

    Edges are cut into pieces no longer than a cell, so that a piece touches no other cells than
    those in which its lowest and highest coordinates are.
    """
    start = np.concatenate(rings)
    step = np.concatenate([np.roll(ring, -1, axis=0) - ring for ring in rings])
    owner = np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])
    near = _near(start, step, grid)
    start, step, owner = start[near], step[near], owner[near]
    pieces = np.ceil(np.abs(step).max(axis=1, initial=0) / grid.cell_m).astype(int) + 1
    which = np.repeat(np.arange(len(step)), pieces)
    place = np.arange(len(which)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    ends = [start[which] + step[which] * ((place + k) / pieces[which])[:, None] for k in (0, 1)]
    low, high = np.minimum(*ends) - _MARGIN_M, np.maximum(*ends) + _MARGIN_M
    origin = np.array([grid.x0, grid.y0])
    corners = [np.floor((end - origin) / grid.cell_m).astype(np.int64) for end in (low, high)]
    touched = np.zeros((len(rings), grid.rows, grid.columns), bool)
    for columns in (corners[0][:, 0], corners[1][:, 0]):
        for rows in (corners[0][:, 1], corners[1][:, 1]):
            there = (rows >= 0) & (rows < grid.rows) & (columns >= 0) & (columns < grid.columns)
            touched[owner[which[there]], rows[there], columns[there]] = True
    return touched.reshape(len(rings), -1)


def _near(start: Floats, step: Floats, grid: Grid) -> NDArray[np.bool_]:
    """Return which edges have a bounding box that meets the grid's."""
    end = start + step
    size = grid.cell_m * np.array([grid.columns, grid.rows])
    low, high = np.minimum(start, end), np.maximum(start, end)
    origin = np.array([grid.x0, grid.y0])
    meets = (high >= origin - _MARGIN_M) & (low <= origin + size + _MARGIN_M)
    return np.asarray(meets.all(axis=1))
