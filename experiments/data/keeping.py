"""Where the index of a data set is kept, and who builds it: one of all who ask for it."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from experiments.data.columns import TornError
from experiments.data.errors import DataError
from experiments.data.filters import filters_of
from experiments.data.indexing import LogIndex, NamedTables, key_of, open_index, write_index
from experiments.data.logs import frame_table, read_log
from experiments.settings import DataConfig
from launcher.errors import ConfigError

_log = logging.getLogger(__name__)
_PATIENCE_S = 1800.0
"""How long to wait for another's work before doing it as well [s]."""


def index_of(config: DataConfig, folder: Path) -> LogIndex:
    """Return the index of the logs in `folder`, building it first if nobody has.

    It is looked for in `data.root` and in `data.cache_dir`, and written into the first of them
    that can be written. Any number of processes on any number of nodes may call this at once:
    the file appears by one rename; a lock only spares them double work.

    Raises:
        DataError: no logs, or one that is torn, too short or not finite; a full disk.
        ConfigError: neither folder can be written.
    """
    logs = log_files(config, folder)
    key = key_of(config, logs)
    homes = homes_of(config)
    index = _first_whole([home / file_name(key) for home in homes], key)
    if index is None:
        index = _built(
            writable(homes, "the index of the logs can be") / file_name(key), key, config, logs
        )
    if index.num_without_route:
        _log.info("%d windows have no route and are left out", index.num_without_route)
    return index


def find_index(config: DataConfig, folder: Path) -> LogIndex | None:
    """Return the index of the logs in `folder` if somebody has built it; see `index_of`.

    Raises:
        DataError: there are no logs.
        ConfigError: a filter cannot be read, or a part of the data is not there.
    """
    key = key_of(config, log_files(config, folder))
    return _first_whole([home / file_name(key) for home in homes_of(config)], key)


def log_files(config: DataConfig, folder: Path) -> list[Path]:
    """Return the logs that a config may take scenes from, in the order of their names.

    Raises:
        DataError: there are none, or one name comes twice.
        ConfigError: a filter cannot be read, or a part of the data is not there.
    """
    wanted = filters_of(config).wanted_logs()
    logs: dict[str, Path] = {}
    for part in [folder / name for name in config.parts] or [folder]:
        if not part.is_dir():
            raise ConfigError(
                f"`data.parts={list(config.parts)}`: there is no folder `{part}`",
                hint="parts are sub-folders of data.logs and data.sensors, e.g. [trainval, test]",
            )
        for path in part.glob("*.pkl"):
            if wanted is not None and path.stem not in wanted:
                continue
            if path.stem in logs:
                raise DataError(f"the log `{path.stem}` is in two parts of `{folder}`")
            logs[path.stem] = path
    if not logs:
        asked = f" of the {len(wanted)} that are asked for" if wanted is not None else ""
        raise DataError(
            f"there is no log (*.pkl){asked} in `{folder}`",
            hint=None if config.parts else "logs in sub-folders? data.parts=[trainval,test]",
        )
    return [logs[name] for name in sorted(logs)]


def homes_of(config: DataConfig) -> list[Path]:
    """Folders that may hold what is derived from data: that of the data itself comes first."""
    return [Path(home) for home in (config.root, config.cache_dir) if home is not None]


def file_name(key: str) -> str:
    """Return the name of the index with that key; removing such files is always safe."""
    return f"index-{key[:12]}.columns"


def _first_whole(paths: list[Path], key: str) -> LogIndex | None:
    for path in paths:
        try:
            return open_index(path, key)
        except FileNotFoundError:
            continue
        except TornError as error:
            _log.warning("%s: it is not used and, where possible, built again", error.message)
    return None


def writable(homes: Sequence[Path], what: str) -> Path:
    """Return the first of the folders that can be written, making it if need be.

    Args:
        homes: Where something derived from the data may be kept.
        what: That thing and a verb, for the message.

    Raises:
        ConfigError: none can.
    """
    reasons = []
    for home in homes:
        try:
            home.mkdir(parents=True, exist_ok=True)
            # Asked by doing it: access() answers wrongly for root and on some network disks.
            with tempfile.TemporaryFile(dir=home):
                return home
        except OSError as error:
            reasons.append(f"`{home}` ({error.strerror})")
    raise ConfigError(
        f"{what} written nowhere: {', '.join(reasons)}",
        hint="set data.cache_dir to a folder that you may write to and that all nodes see",
    )


def _built(path: Path, key: str, config: DataConfig, logs: list[Path]) -> LogIndex:
    with _locked(path.with_name(f".{path.name}.lock")):
        index = _first_whole([path], key)  # another may have built it meanwhile
        if index is not None:
            return index
        began = time.monotonic()
        _log.info("indexing %d logs into %s", len(logs), path)
        try:
            write_index(path, key, config, _tables(logs))
            index = open_index(path, key)
        except OSError as error:
            raise DataError(
                f"cannot write the index `{path}`: {error.strerror}",
                hint="free space there, or set data.cache_dir to another folder",
            ) from error
        num_windows, took_s = len(index.windows), time.monotonic() - began
        _log.info("indexed %d windows of %d logs in %.1f s", num_windows, len(logs), took_s)
        return index


def _tables(logs: list[Path]) -> NamedTables:
    for path in logs:
        yield path, frame_table(path, read_log(path))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock for as long as the file system has locks and the patience lasts."""
    lock = FileLock(path, timeout=_PATIENCE_S)
    try:
        lock.acquire()
    except (OSError, NotImplementedError) as error:  # a timeout is an OSError, too
        _log.warning("building without the lock %s (%s)", path, error)
    try:
        yield
    finally:
        lock.release()
