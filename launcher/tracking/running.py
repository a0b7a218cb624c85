"""Tracking of the run that this process is a rank of: what the task and the job call."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import launcher
from launcher.context import RunContext
from launcher.errors import LauncherError
from launcher.tracking import card as cards
from launcher.tracking import journal, pulse
from launcher.tracking.settings import TrackingConfig, from_container

if TYPE_CHECKING:
    from pytorch_lightning.loggers.logger import Logger

log = logging.getLogger("launcher.tracking")
STOP_S = 10.0
"""How long a run that was asked to stop waits for its publisher [s]."""
SPARE_S = 15.0
"""What a publisher gets besides the time that W&B may take to have all rows [s]."""
WARNING = "warning.txt"
"""Beside the card: what the publisher of an attempt wants the log of the run to say."""


class _Running:
    """The settings of the present run, and the process that publishes beside it."""

    def __init__(self, settings: TrackingConfig, context: RunContext) -> None:
        self.settings = settings
        self.context = context
        self.process: subprocess.Popen[bytes] | None = None


_running: _Running | None = None


def begin(config: Any, context: RunContext) -> None:
    """Settle how this run is tracked, and on rank 0 start to publish. Nothing for a probe.

    Args:
        config: The resolved config as plain values; `tracking` holds the settings.
        context: The run.

    Raises:
        ConfigError: a setting is wrong.
    """
    global _running
    settings = from_container(config.get("tracking"))
    if context.probe is not None:
        settings.wandb.mode = "disabled"
    _running = _Running(settings, context)
    if context.rank or not settings.wandb.is_on:
        return
    try:
        cards.write(context.run_dir, cards.make(config, context, settings.wandb))
        _running.process = _start(context)
    except (OSError, LauncherError) as error:
        # The rows are in the journal if the disk takes them; training is what counts.
        log.warning("not published while it runs: %s", error)


def _start(context: RunContext) -> subprocess.Popen[bytes]:
    folder = cards.path_of(context.run_dir).parent
    (folder / WARNING).unlink(missing_ok=True)
    paths = [str(Path(launcher.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, "-m", "launcher.tracking.publisher", str(context.run_dir)]
    command += ["--attempt", context.attempt, "--parent", str(os.getpid())]
    with open(folder / f"publisher-{context.attempt}.log", "ab") as said:
        return subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )


def describe(**facts: Any) -> None:
    """Add what only the task knows of the run to its config at W&B, as `facts`."""
    if _running is None or _running.context.rank or not _running.settings.wandb.is_on:
        return
    run_dir = _running.context.run_dir
    card = cards.read(run_dir)
    if card is None:
        return
    with contextlib.suppress(LauncherError):
        cards.write(
            run_dir, card.model_copy(update={"config": {**card.config, "facts": dict(facts)}})
        )


def loggers(context: RunContext) -> list[Logger]:
    """Loggers for the Trainer of a run; a plain file where nothing was settled."""
    from launcher.tracking.lightning import loggers_of

    settings = _running.settings if _running is not None else TrackingConfig(csv=True)
    folder = cards.path_of(context.run_dir).parent
    return loggers_of(
        context.run_dir,
        context.attempt,
        csv=settings.csv,
        tensorboard=settings.tensorboard,
        journal=folder / journal.NAME if settings.wandb.is_on else None,
    )


def finish(*, is_stopping: bool = False) -> None:
    """Let the publisher tell how this life ended, for as long as that may take; never raises.

    Called when the record of the attempt says how it ended.
    """
    global _running
    running, _running = _running, None
    if running is None or running.process is None:
        return
    process, wandb = running.process, running.settings.wandb
    until = time.monotonic() + (STOP_S if is_stopping else wandb.finish_s + SPARE_S)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(max(until - time.monotonic(), 0.0))
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        pulse.end(cards.path_of(running.context.run_dir).parent)
        _warn(running.context.run_dir, "W&B did not take all rows in time")
    elif process.returncode:
        _warn(running.context.run_dir, "the process that publishes ended early")
    else:
        _warn(running.context.run_dir, "")


def _warn(run_dir: Path, otherwise: str) -> None:
    """Say once what went wrong, and what to do."""
    with contextlib.suppress(OSError):
        otherwise = (cards.path_of(run_dir).parent / WARNING).read_text().strip() or otherwise
    if otherwise:
        log.warning(
            "%s; the training is unharmed, `launch sync` delivers what is on disk", otherwise
        )
