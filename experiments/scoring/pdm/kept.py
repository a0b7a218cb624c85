"""Reference plans of windows, made once and kept beside the data for all who score them.

A reference plan takes ten times as long as all else that is done for a window. The file of a set
of windows appears by one rename and is never changed; it may be removed at any time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from experiments.data.columns import TornError, open_columns, written
from experiments.data.errors import DataError
from experiments.data.frames import Floats
from experiments.data.keeping import homes_of, writable
from experiments.data.source import SceneSource
from experiments.scoring.pdm.from_source import Prospect, SourceScenes
from experiments.scoring.pdm.reference import REFERENCE
from experiments.scoring.pdm.scene import PLAN_STATES, SceneMetrics
from experiments.scoring.pdm.score import scorer_sha
from experiments.scoring.threads import one_thread
from experiments.settings import DataConfig
from launcher.errors import ConfigError

_log = logging.getLogger(__name__)

Between = Callable[[], None]
"""Called between two pieces of work; it may raise to end the work."""
_CODE = ("from_source.py", "kept.py", "reference.py", "reference_idm.py", "reference_path.py")
"""What makes a reference plan besides the score itself."""
_DIGEST_BYTES = 16
_PATIENCE_S = 3600.0
"""How long to wait for another's work before doing it as well [s]."""
_TOLD_EVERY_S = 30.0
_Arrays = dict[str, NDArray[Any]]


class KeptScenes:
    """Windows of driving logs as the PDM score sees them, with reference plans made once."""

    def __init__(
        self, source: SceneSource, config: DataConfig, rows: NDArray[np.int64], between: Between
    ) -> None:
        """Make the reference plans of the windows `rows`, unless somebody has.

        A window whose plan cannot be made is left out, and refused when it is read.

        Raises:
            ConfigError: as `SourceScenes`.
        """
        self._source, self._scenes = source, SourceScenes(source, config)
        self._place = {row: place for place, row in enumerate(rows.tolist())}
        with one_thread():
            self._kept = _kept(
                self._prospect, rows, homes_of(config), key_of(source, rows), between
            )

    def read(self, i: int) -> SceneMetrics:
        """Return window `i`; its lights are those of the log.

        Raises:
            DataError: as `SourceScenes.read`.
        """
        prospect = self._prospect(i)
        return prospect.outlook.scene(self._reference(i, prospect))

    def _prospect(self, i: int) -> Prospect:
        return self._scenes.prospect(i, self._source.red_lights(i))

    def _reference(self, i: int, prospect: Prospect) -> Floats:
        place = self._place.get(i)
        if place is not None and self._kept["digest"][place].tobytes() == prospect.digest():
            return np.array(self._kept["reference"][place])
        # It was not possible, or the map has changed since: whatever is kept is of another scene.
        return prospect.reference()


def key_of(source: SceneSource, rows: NDArray[np.int64]) -> str:
    """Return what a file of reference plans depends on, as hex sha256."""
    facts = [source.fingerprint, REFERENCE, scorer_sha()]
    digest = hashlib.sha256(json.dumps(facts).encode())
    for name in _CODE:
        digest.update(name.encode() + (Path(__file__).parent / name).read_bytes())
    digest.update(source.index.token[rows].tobytes())
    return digest.hexdigest()


def file_name(key: str) -> str:
    """Return the name of the file with that key."""
    return f"references-{key[:12]}.columns"


def _kept(
    prospect: Callable[[int], Prospect],
    rows: NDArray[np.int64],
    homes: Sequence[Path],
    key: str,
    between: Between,
) -> _Arrays:
    """Return `reference` (N, 41, 3) and `digest` (N, 16) of windows, from a file or made now."""
    found = _first_whole(homes, key)
    if found is not None:
        return found
    try:
        home = writable(homes, "reference plans can be")
    except ConfigError as error:
        # The plans are the same, whether or not they can be kept.
        _log.warning("%s: they are made for this run alone", error.message)
        return _made(prospect, rows, between)
    path = home / file_name(key)
    with _locked(path.with_name(f".{path.name}.lock"), between):
        found = _first_whole([home], key)  # another may have made them meanwhile
        if found is not None:
            return found
        made = _made(prospect, rows, between)
        _write(path, key, made)
        return made


def _first_whole(homes: Sequence[Path], key: str) -> _Arrays | None:
    for home in homes:
        try:
            return open_columns(home / file_name(key), key).arrays("reference", "digest")
        except FileNotFoundError:
            continue
        except TornError as error:
            _log.warning("%s: it is not used and, where possible, made again", error.message)
    return None


def _made(
    prospect: Callable[[int], Prospect], rows: NDArray[np.int64], between: Between
) -> _Arrays:
    began = told = time.monotonic()
    references = np.zeros((len(rows), PLAN_STATES, 3))
    digests = np.zeros((len(rows), _DIGEST_BYTES), np.uint8)
    for place, row in enumerate(rows.tolist()):
        between()
        try:
            found = prospect(row)
            references[place] = found.reference()
        except DataError as error:
            _log.warning("no reference plan: %s", error.message)
            continue
        digests[place] = np.frombuffer(found.digest(), np.uint8)
        if time.monotonic() - told > _TOLD_EVERY_S:
            told = time.monotonic()
            rate = (place + 1) / (told - began)
            _log.info("reference plans of %d of %d windows, %.0f/s", place + 1, len(rows), rate)
    _log.info("made %d reference plans in %.1f s", len(rows), time.monotonic() - began)
    return {"reference": references, "digest": digests}


def _write(path: Path, key: str, arrays: _Arrays) -> None:
    kinds = {name: (array.dtype, array.shape) for name, array in arrays.items()}
    try:
        with written(path, key, kinds, {"reference": REFERENCE}) as file:
            for name, array in arrays.items():
                file.put(name, array)
    except OSError as error:
        _log.warning("reference plans cannot be kept in `%s`: %s", path, error.strerror)


@contextmanager
def _locked(path: Path, between: Between) -> Iterator[None]:
    """Hold the lock for as long as the file system has locks and the patience lasts."""
    lock = FileLock(path)
    ends = time.monotonic() + _PATIENCE_S
    while not lock.is_locked and time.monotonic() < ends:
        between()
        try:
            lock.acquire(timeout=1.0)
        except Timeout:
            continue
        except (OSError, NotImplementedError) as error:
            _log.warning("making reference plans without the lock %s (%s)", path, error)
            break
    try:
        yield
    finally:
        lock.release()
