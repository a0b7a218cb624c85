"""Files of a run that W&B is to know: its best checkpoint.

An artifact by reference names a file and its checksum, and leaves the file where it is. The name is
relative to the folder that holds the outputs, so no folder of a person leaves the machine, and
`Artifact.download()` finds the file for whoever calls it there.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from launcher import store
from launcher.records import Record

NAME = "checkpoint.json"


class Kept(Record):
    """The best checkpoint of a run."""

    path: str
    """Relative to the folder of the run where it lies in it, else absolute."""
    monitor: str | None = None
    """By which metric it is the best; None where it is the last."""
    score: float | None = None
    told: str = ""
    """Id of the run whose artifact it has become."""


def note(folder: Path, file: Path, monitor: str | None, score: float | None) -> None:
    """Keep the place of a run's best checkpoint in its tracking folder, if it has changed.

    Raises:
        StoreError: the disk refuses.
    """
    run_dir = folder.parent
    path = file.relative_to(run_dir) if file.is_relative_to(run_dir) else file.absolute()
    found = Kept(path=str(path), monitor=monitor, score=score)
    known = read(folder)
    if known is None or known.model_copy(update={"told": ""}) != found:
        # The training waits for it, and a power cut costs no more than this note.
        store.write_record(folder / NAME, found, durable=False)


def read(folder: Path) -> Kept | None:
    """The best checkpoint of the run with this tracking folder, as far as one was saved."""
    return store.find_record(folder / NAME, Kept)


def is_missing(found: Kept, run_id: str, wish: str) -> bool:
    """Whether a checkpoint is to be an artifact of a run and is none yet.

    Args:
        found: The best checkpoint of the run.
        run_id: The run's id at W&B.
        wish: `reference`, `upload` or `none`. One that lies elsewhere than its run can be uploaded,
            but not named without somebody's folder.
    """
    can_be = wish == "upload" or (wish == "reference" and not Path(found.path).is_absolute())
    return can_be and found.told != run_id


def mark(folder: Path, run_id: str) -> None:
    """Note that the best checkpoint has become an artifact of a run."""
    found = read(folder)
    if found is not None:
        store.write_record(folder / NAME, found.model_copy(update={"told": run_id}))


def reference(file: Path, root: Path) -> str:
    """A file as W&B is told of it: `file:outputs/study/run/...`, understood from `root`.

    Raises:
        ValueError: it is not below `root`.
    """
    return f"file:{quote(file.relative_to(root).as_posix())}"
