"""What a dataset asks of a teacher; see `experiments.teacher.store` for where scores lie."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class TeacherScores(Protocol):
    """For each window a score of each trajectory of a vocabulary by each metric."""

    def rows_of(self, tokens: NDArray[np.bytes_]) -> NDArray[np.int64]:
        """Return the row of each window; DataError if some have no scores."""
        ...

    def read(self, row: int) -> NDArray[Any]:
        """Return the (V, M) scores of a row, as an array of the caller's own."""
        ...
