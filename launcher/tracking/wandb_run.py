"""The only place where W&B's library is called to write a run."""

from __future__ import annotations

import math
import netrc
import os
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from launcher.tracking import kept
from launcher.tracking.card import Card
from launcher.tracking.journal import Row

STEP = "trainer/global_step"
"""The x axis of every curve: optimizer steps that were done before the row."""
LIFE = "life/number"
"""In every row: which life of the run logged it; a jump is an interruption."""
BASE_URL = "https://api.wandb.ai"
REACH_S = 5.0
"""How long the server may take to say anything [s]."""
INIT_S = 30.0
"""How long it may take to open a run [s]."""


def why_unreachable(url: str | None = None) -> str:
    """Why W&B's server cannot be used from here; empty if it answers."""
    url = url or os.environ.get("WANDB_BASE_URL") or BASE_URL
    request = urllib.request.Request(url, headers={"User-Agent": "launcher"})
    try:
        with urllib.request.urlopen(request, timeout=REACH_S):
            return ""
    except urllib.error.HTTPError as error:
        # 404 and the like are answers of a server that works.
        return f"{url} answers {error.code}" if error.code >= 500 else ""
    except (OSError, ValueError) as error:
        return f"{url} cannot be reached: {getattr(error, 'reason', error)}"


def in_one_line(error: Exception) -> str:
    """What W&B's library or server said."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:400]


def has_key(url: str | None = None) -> bool:
    """Whether this user has a key for W&B's server, in the environment or in ~/.netrc."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    url = url or os.environ.get("WANDB_BASE_URL") or BASE_URL
    try:
        entries = netrc.netrc(os.environ.get("NETRC"))
    except (OSError, netrc.NetrcParseError):
        return False
    return entries.authenticators(urlparse(url).hostname or url) is not None


def settings(card: Card, *, is_online: bool) -> Any:
    """What W&B may look at and send: what it is told, and nothing of the machine by itself."""
    import wandb

    return wandb.Settings(
        console="off",
        disable_git=True,
        finish_timeout=card.finish_s if is_online else 0.0,
        finish_timeout_raises=True,
        host="",
        init_timeout=INIT_S,
        program="",
        program_relpath="",
        save_code=False,
        silent=True,
        symlink=False,
        x_disable_machine_info=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_save_requirements=False,
        x_transaction_log_flush_interval=2.0,
    )


class WandbRun:
    """One life of a run at W&B: opened, told rows in order, closed."""

    def __init__(self, card: Card, folder: Path, *, is_online: bool) -> None:
        """Open it; a run that W&B knows by this id goes on.

        Args:
            card: What it is.
            folder: Folder of this life, in which W&B makes its own.
            is_online: Whether rows are sent while it lives.

        Raises:
            wandb.Error: the server refuses, or does not answer.
        """
        import wandb

        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._run = wandb.init(
            mode="online" if is_online else "offline",
            dir=str(folder),
            id=card.id,
            resume="allow",
            project=card.project,
            entity=card.entity,
            group=card.group[:128],
            job_type=card.job_type,
            name=card.name[:128],
            tags=card.tags,
            config=card.config,
            settings=settings(card, is_online=is_online),
        )
        self.id = card.id
        self.last_told: int | None = None
        """Step of the last row that it was told."""
        self._patience_s = max(round(card.finish_s), 1)
        self.url: str | None = self._run.url if is_online else None
        self.file = Path(self._run.settings.sync_file)
        self.next_step: int = self._run.starting_step
        """The first step that W&B has not, as far as it could be asked: 0 offline."""
        self._run.define_metric(STEP)
        self._run.define_metric("*", step_metric=STEP)

    def describe(self, config: Mapping[str, Any]) -> None:
        """Replace what changed of its config."""
        settings: Any = self._run.config
        settings.update(dict(config), allow_val_change=True)

    def tell(self, rows: Sequence[Row], lives: Mapping[str, int], **beside: Any) -> None:
        """Add rows, each with the number of the life that logged it.

        Args:
            rows: In the order of their steps.
            lives: Attempt -> its number.
            beside: What goes with the last of them.
        """
        for row in rows:
            self.last_told = row.step
            values = {name: _finite(value) for name, value in row.values.items()}
            self._run.log(
                {
                    **values,
                    **(beside if row is rows[-1] else {}),
                    LIFE: lives.get(row.attempt, len(lives)),
                    STEP: row.step,
                    "_timestamp": row.time_s,
                },
                step=row.step,
                commit=True,
            )

    def summarize(self, values: Mapping[str, Any]) -> None:
        """Set values that stand for the whole run."""
        self._run.summary.update({k: v for k, v in values.items() if v is not None})

    def keep(
        self, file: Path, artifact: str, kind: str, *, is_uploaded: bool = False, **about: Any
    ) -> None:
        """Make a file an artifact of this run.

        Args:
            file: Below the folder that this process works in, from where it is named.
            artifact: Its name; versions of one name replace each other.
            kind: `model` or `report`.
            is_uploaded: Whether W&B gets a copy; otherwise it gets name and checksum, and the file
                stays where it is.
            about: Facts that stand beside it.

        Raises:
            Exception: W&B refuses it, or does not answer in time.
        """
        import wandb

        made = wandb.Artifact(artifact, type=kind, metadata=about)
        if is_uploaded:
            # Neither copied to where W&B keeps what it is to send, nor to its cache: gigabytes.
            made.add_file(str(file), name=file.name, policy="immutable", skip_cache=True)
        else:
            made.add_reference(kept.reference(file, Path.cwd()), name=file.name)
        logged = self._run.log_artifact(made)
        if self.url is not None:
            logged.wait(self._patience_s)  # that it was refused is said nowhere else

    def alert(self, title: str, text: str) -> None:
        """Tell whoever has asked W&B to be told."""
        self._run.alert(title=title, text=text)

    def close(self, *, exit_code: int, will_go_on: bool = False) -> None:
        """Say how this life ended: finished with 0, else failed, or preempted if it will go on."""
        if will_go_on:
            self._run.mark_preempting()
        self._run.finish(exit_code=exit_code)


def _finite(value: Any) -> Any:
    """W&B knows these by name only."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
