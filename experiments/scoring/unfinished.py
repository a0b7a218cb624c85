"""What an interrupted evaluation has scored already, so that its next attempt goes on there."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.data.frames import Floats
from launcher.files import write_bytes

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A file that goes on only with the very same plans of the same scenes by the same scorer."""

    path: Path
    key: str

    @classmethod
    def of(cls, path: Path, facts: Sequence[str], tokens: NDArray[np.bytes_], plans: Floats
           ) -> Unfinished:  # fmt: skip
        """Of scores of `plans` for `tokens`; `facts` is what they depend on besides."""
        digest = hashlib.sha256(json.dumps([*facts, plans.shape]).encode())
        digest.update(tokens.tobytes() + np.ascontiguousarray(plans).tobytes())
        return cls(path, digest.hexdigest())

    def load(self, values: Floats, is_done: NDArray[np.bool_]) -> None:
        """Fill in what is there: rows of `values` and, for each row, whether it is done."""
        try:
            with np.load(io.BytesIO(self.path.read_bytes()), allow_pickle=False) as found:
                key, kept, done = str(found["key"]), found["values"], found["is_done"]
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            _log.warning("`%s` is torn, its scores are computed again: %r", self.path, error)
            return
        if key != self.key or kept.shape != values.shape or done.shape != is_done.shape:
            _log.info("`%s` is of other plans, scenes or code, and not used", self.path)
            return
        values[done], is_done[done] = kept[done], True
        _log.info("%d of %d scenes were scored before", int(done.sum()), len(done))

    def save(self, values: Floats, is_done: NDArray[np.bool_]) -> None:
        """Write what is there, whole or not at all."""
        content = io.BytesIO()
        np.savez(content, key=np.array(self.key), values=values, is_done=is_done)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(self.path, content.getvalue())

    def forget(self) -> None:
        """Remove the file: the scores are complete."""
        self.path.unlink(missing_ok=True)
