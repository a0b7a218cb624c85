"""The report of a study: its scores, what they show, and one page to read it on; imports no torch.

Nothing is imported here: the submitting side names `write` and does not need what it needs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from launcher.studies import Study


def write(
    study: Study,
    *,
    against: str | None = None,
    metric: str | None = None,
    out: Path | None = None,
) -> Path | None:
    """Write the report of a study; see `experiments.reporting.writing.write`."""
    from experiments.reporting import writing

    return writing.write(study, against=against, metric=metric, out=out)
