"""`launch sync`: bring to W&B what the runs of a study left on disk, in the order of their lives.

Offline fragments go through W&B's own `wandb sync`, one after the other. Rows that no fragment has,
because whoever wrote it was killed, come from the journal; so do those of a life that was online
and lost its server, for only W&B knows which of them it took.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher import store
from launcher.errors import LauncherError
from launcher.states import FINAL, RunStatus
from launcher.tracking import card as cards
from launcher.tracking import fragments, journal, kept, links, lives, pulse
from launcher.tracking.card import Card
from launcher.tracking.fragments import Fragment
from launcher.tracking.wandb_run import has_key, why_unreachable

PUBLISHED_WITHIN_S = 90.0
"""How long a run that has ended is waited for that is still published [s]."""
GIVE_UP_S = 60.0
"""How long the job of a run that is given up lives on to tell W&B [s]."""
SYNC_S = 600.0
"""How long W&B may take for the rows of one life [s]."""


@dataclass(frozen=True, kw_only=True)
class Tracked:
    """A run that is tracked: what is on disk of it, and what W&B has."""

    run_dir: Path
    name: str
    card: Card
    attempt: str
    """Its latest life."""
    is_over: bool
    """Whether no life will follow by itself."""
    rows: list[int]
    """Steps of the rows that may be told now."""
    fragments: list[Fragment]
    """Those that nobody writes any more."""
    lacks_checkpoint: bool
    """Whether it has completed, and its best checkpoint is in no fragment."""

    @property
    def unsynced(self) -> list[Fragment]:
        """Fragments that W&B has not, or not all of."""
        return [fragment for fragment in self.fragments if not fragment.is_synced]

    @property
    def untold(self) -> int:
        """Rows that are in no fragment; none while a life goes on that tells them itself."""
        ours = [fragment for fragment in self.fragments if fragment.run_id == self.card.id]
        told = {step for fragment in ours for step in fragment.steps}
        return len([step for step in self.rows if step not in told]) if self.is_over else 0

    @property
    def is_synced(self) -> bool:
        """Whether W&B has all that can be had now."""
        return not self.unsynced and not self.untold and not self.lacks_checkpoint

    def row(self) -> dict[str, object]:
        """How it stands, as one row of a table."""
        at = len([fragment for fragment in self.fragments if fragment.is_synced])
        state = "synced" if self.is_synced else "to sync"
        return {
            "run": self.name,
            "id": self.card.id,
            "rows": len(self.rows),
            "fragments synced": f"{at}/{len(self.fragments)}",
            "rows in no fragment": self.untold,
            "state": state if self.is_over else f"{state}, goes on",
        }


def tracked(statuses: Sequence[RunStatus], patience_s: float = PUBLISHED_WITHIN_S) -> list[Tracked]:
    """Those of some runs that W&B is to have.

    Args:
        statuses: How the runs stand.
        patience_s: How long to wait for each that has ended and is still published; after that it
            counts as one that goes on.
    """
    return [found for status in statuses if (found := _look(status, patience_s)) is not None]


def _look(status: RunStatus, patience_s: float) -> Tracked | None:
    run_dir = Path(status.run_dir)
    card = cards.read(run_dir)
    attempts = store.attempts(run_dir, key=status.key)
    if card is None or not attempts:
        return None
    last = attempts[-1].attempt
    is_over = status.state in FINAL and not status.is_lost
    folder = cards.path_of(run_dir).parent
    has_ended = status.state in FINAL or attempts[-1].ended is not None
    if has_ended and not _is_left_alone(folder, patience_s):
        is_over = has_ended = False
    rows = journal.covered(
        journal.read(folder / journal.NAME), lives.saved_step(run_dir), is_over=is_over
    )
    checkpoint = kept.read(folder) if status.state == "completed" else None
    return Tracked(
        run_dir=run_dir,
        name=status.name,
        card=card,
        attempt=last,
        is_over=is_over,
        rows=[row.step for row in rows],
        fragments=[f for f in fragments.of_run(folder) if has_ended or f.attempt < last],
        lacks_checkpoint=checkpoint is not None
        and kept.is_missing(checkpoint, card.id, card.checkpoint),
    )


def _is_left_alone(folder: Path, patience_s: float) -> bool:
    """Whether nobody publishes a run, or has stopped to within that time."""
    until = time.monotonic() + patience_s
    while pulse.is_beating(folder):
        if time.monotonic() > until:
            return False
        time.sleep(0.5)
    return True


def require_key() -> None:
    """Refuse to begin where W&B knows nobody.

    Raises:
        LauncherError: there is no key.
    """
    if not has_key():
        raise LauncherError(
            "there is no key for W&B: neither WANDB_API_KEY nor an entry in ~/.netrc",
            hint="`wandb login`",
        )


def require_server() -> None:
    """Refuse to begin where W&B cannot be reached or knows nobody.

    Raises:
        LauncherError: why.
    """
    require_key()
    if reason := why_unreachable():
        raise LauncherError(
            f"W&B cannot be used from here: {reason}",
            hint="run it on a machine with a way out, e.g. the login node; WANDB_BASE_URL names"
            " another server",
        )


@contextlib.contextmanager
def alone(study: Path) -> Iterator[None]:
    """Keep a second command from sending the same rows meanwhile.

    Raises:
        LauncherError: one is at work.
    """
    if pulse.is_beating(study):
        raise LauncherError(
            f"study `{study.name}` is being synced by another command or job",
            hint=f"wait for it; one that was killed counts for {pulse.SILENT_S:g} s",
        )
    with pulse.beating(study):
        yield


def sync(run: Tracked) -> str:
    """Bring a run to W&B; returns what went wrong, empty if nothing did."""
    if any(fragment.is_online for fragment in run.unsynced):
        return _deliver(run.run_dir, run.attempt, is_over=run.is_over, is_online=True)
    is_partial = run.untold or run.lacks_checkpoint
    if is_partial and (
        trouble := _deliver(run.run_dir, run.attempt, is_over=run.is_over, is_online=False)
    ):
        return trouble
    folder = cards.path_of(run.run_dir).parent
    known = {fragment.path for fragment in run.fragments}
    for fragment in fragments.of_run(folder):
        is_ours = fragment.path in known or fragment.attempt.endswith("-sync")
        if is_ours and not fragment.is_synced and (trouble := _wandb_sync(fragment)):
            return trouble
    return ""


def give_up(run_dir: Path, attempt: str) -> str:
    """Tell W&B, where it was online, that no life will follow; returns what went wrong.

    Somebody who asked W&B for alerts gets one.
    """
    card = cards.read(run_dir)
    if card is None or card.mode != "online" or links.url_of(run_dir) is None:
        return ""
    if not _is_left_alone(cards.path_of(run_dir).parent, card.finish_s):
        return "it is still being published"
    return _deliver(run_dir, attempt, is_over=True, is_online=True, timeout_s=GIVE_UP_S)


def _wandb_sync(fragment: Fragment) -> str:
    fragments.trim(fragment.path)
    # Its own file is named as the program of the run, unless another name is given, and its logs
    # would lie in the folder that the command is called from.
    logs = {"WANDB_PROGRAM": "launch sync", "WANDB_DIR": str(fragment.path.parents[2])}
    environment = {**os.environ, **logs}
    command = [sys.executable, "-m", "wandb", "sync", "--include-online"]
    said = call([*command, str(fragment.path.parent)], environment)
    if fragment.is_synced:
        return ""
    return said or "`wandb sync` ended and has not synced it"


def _deliver(
    run_dir: Path, attempt: str, *, is_over: bool, is_online: bool, timeout_s: float = SYNC_S
) -> str:
    command = [sys.executable, "-m", "launcher.tracking.publisher", str(run_dir)]
    command += ["--attempt", attempt, *["--over"] * is_over, *["--online"] * is_online]
    return call(command, dict(os.environ), only_failures=True, timeout_s=timeout_s)


def call(
    command: list[str],
    environment: dict[str, str],
    *,
    only_failures: bool = False,
    timeout_s: float = SYNC_S,
) -> str:
    """What a program said last, or why it did not end."""
    try:
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return f"W&B took more than {timeout_s:g} s"
    if done.returncode == 0 and only_failures:
        return ""
    return " ".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-1:])
