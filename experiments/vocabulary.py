"""task=vocabulary: the trajectories among which anchored heads choose, clustered from human ones.

Only training windows are clustered, never those of validation or test.
"""

from __future__ import annotations

import hashlib
import io
import logging
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.data import DataError, datasets
from experiments.settings import POSES, ExperimentConfig, HeadConfig
from launcher.context import RunContext
from launcher.errors import ConfigError
from launcher.files import write_bytes

log = logging.getLogger(__name__)

FILE_NAME = "vocabulary.npz"
"""In the run folder."""
HEADING_M_PER_RAD = 5.0
"""Metres that a radian counts when trajectories are clustered."""
MAX_ITERATIONS = 100
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Trajectories to choose among."""

    anchors: Floats
    """(V, 8, 3) x, y [m] and heading [rad] in the current ego frame."""
    tokens_sha256: str
    """Of the windows that were clustered."""

    @property
    def sha256(self) -> str:
        """Digest of the anchors' bytes (little-endian float32)."""
        return hashlib.sha256(np.ascontiguousarray(self.anchors, "<f4").tobytes()).hexdigest()

    def __len__(self) -> int:
        return len(self.anchors)


def build(config: ExperimentConfig, context: RunContext) -> dict[str, Any]:
    """Cluster the human trajectories of the training windows into `head.vocabulary_size`.

    Only rank 0 works; the others get an empty answer.

    Returns:
        Size and digests, and the mean distance of trajectories to the anchors of their cluster.

    Raises:
        ConfigError: there are fewer (different) trajectories than anchors.
        DataError: data is missing or damaged, or a trajectory is not finite.
    """
    if context.rank:
        return {}
    head = config.head
    is_all = head.vocabulary_of == "all"
    splits = datasets(replace(config.data, fraction=1.0) if is_all else config.data)
    futures = np.asarray(splits.source.future[splits.train], np.float32)
    _check(futures, head, config.data.fraction)
    log.info("clustering %d trajectories into %d anchors", len(futures), head.vocabulary_size)
    anchors, nearest = cluster(futures, head.vocabulary_size, head.vocabulary_seed)
    errors_m = np.linalg.norm((futures - anchors[nearest])[..., :2], axis=-1)
    vocabulary = Vocabulary(anchors, splits.train_tokens_sha256)
    save(context.run_dir / FILE_NAME, vocabulary)
    return {
        "vocabulary_size": len(anchors),
        "vocabulary_sha256": vocabulary.sha256,
        "vocabulary_error_m": float(errors_m.mean()),
        "train_tokens": len(futures),
        "train_tokens_sha256": vocabulary.tokens_sha256,
    }


def _check(futures: Floats, head: HeadConfig, fraction: float) -> None:
    if not np.isfinite(futures).all():
        raise DataError("a human trajectory among the training windows is not finite")
    different = len(np.unique(futures.reshape(len(futures), -1), axis=0))
    if different < head.vocabulary_size:
        whose = (
            "training" if head.vocabulary_of == "all" else f"labelled (data.fraction={fraction})"
        )
        raise ConfigError(
            f"`head.vocabulary_size={head.vocabulary_size}` anchors cannot be clustered from"
            f" {len(futures)} {whose} windows with {different} different trajectories",
            hint=f"take head.vocabulary_size={different} or less, more labels, or"
            " head.vocabulary_of=all",
        )


def cluster(futures: Floats, size: int, seed: int) -> tuple[Floats, NDArray[np.int32]]:
    """Return `size` centres (V, 8, 3) of k-means over trajectories (N, 8, 3), and each one's own.

    Distances are over x, y [m] and 5 m/rad times the heading; k-means++ chooses the first
    centres, drawn by `seed`; iterations end when no centre moves. Headings are unwrapped along
    each trajectory first, so that a mean of 179 and -179 degrees is not 0.
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    unwrapped = np.concatenate([futures[..., :2], _unwrapped(futures[..., 2:])], axis=-1)
    scale = np.array([1.0, 1.0, HEADING_M_PER_RAD], np.float32)
    features = (unwrapped * scale).reshape(len(futures), -1)
    kmeans = KMeans(
        size, init="k-means++", n_init=1, tol=0.0, max_iter=MAX_ITERATIONS, random_state=seed
    )
    # With several threads the order in which their sums meet is left to chance.
    with threadpool_limits(limits=1):
        kmeans.fit(features)
    anchors = kmeans.cluster_centers_.reshape(size, POSES, 3) / scale
    anchors[..., 2] = _wrapped(anchors[..., 2])
    return np.ascontiguousarray(anchors, np.float32), kmeans.labels_


def save(path: Path, vocabulary: Vocabulary) -> None:
    """Write a vocabulary, atomically."""
    content = io.BytesIO()
    np.savez(
        content,
        anchors=vocabulary.anchors,
        tokens_sha256=np.array(vocabulary.tokens_sha256),
        sha256=np.array(vocabulary.sha256),
    )
    write_bytes(path, content.getvalue())


def load(path: Path) -> Vocabulary:
    """Read a vocabulary.

    Raises:
        DataError: it is missing or torn, or its digest is not that of its anchors.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            anchors = file["anchors"]
            vocabulary = Vocabulary(anchors, str(file["tokens_sha256"]))
            written = str(file["sha256"])
    except FileNotFoundError as error:
        raise DataError(
            f"there is no vocabulary at `{path}`", hint="task=vocabulary builds it"
        ) from error
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"`{path}` holds no whole vocabulary: {error}") from error
    if anchors.dtype != np.float32 or anchors.shape[1:] != (POSES, 3):
        raise DataError(
            f"anchors of `{path}` are {anchors.dtype} {anchors.shape}, not float32 (V, {POSES}, 3)"
        )
    if vocabulary.sha256 != written:
        raise DataError(
            f"anchors of `{path}` have sha256 {vocabulary.sha256[:12]}..., but were written with"
            f" {written[:12]}...",
            hint="build the vocabulary anew with task=vocabulary",
        )
    return vocabulary


def _unwrapped(heading: Floats) -> Floats:
    """Return headings (N, 8, 1) without jumps along a trajectory that begins at heading 0."""
    start = np.zeros_like(heading[:, :1])
    return np.unwrap(np.concatenate([start, heading], axis=1), axis=1)[:, 1:].astype(np.float32)


def _wrapped(heading: Floats) -> Floats:
    return ((heading + np.pi) % (2.0 * np.pi) - np.pi).astype(np.float32)
