"""The process beside a training that hands its journal to W&B: `-m launcher.tracking.publisher`.

Rank 0 starts it, and it ends when the record of the attempt says how that ended, or rank 0 is gone.
Whatever happens to it, the training goes on: its journal stays, and `launch sync` makes up for it.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
import traceback
from pathlib import Path

from launcher import store
from launcher.errors import LauncherError
from launcher.files import write_bytes, write_json
from launcher.records import AttemptRecord
from launcher.tracking import card as cards
from launcher.tracking import fragments, journal, kept, links, lives, pulse, running, telling
from launcher.tracking.card import Card
from launcher.tracking.wandb_run import WandbRun, in_one_line, why_unreachable

LOOK_S = 0.5
"""Time between two looks at the journal [s]."""
WRITTEN_WITHIN_S = 5.0
"""How long after its end wandb-core may take to have all rows of an offline life on disk [s]."""


class Publisher:
    """Publishes the rows of one life of a run that no other life will log again."""

    def __init__(self, run_dir: Path, attempt: str) -> None:
        self.run_dir = run_dir
        self.attempt = attempt
        self.folder = cards.path_of(run_dir).parent
        card = cards.read(run_dir)
        if card is None:
            raise FileNotFoundError(cards.path_of(run_dir))
        self.card: Card = card
        self.told = last_step(self.folder, card.id)
        self._saved: int | None = None
        """The newest checkpoint whose rows were told."""
        self.run = self._open()

    def _open(self) -> WandbRun:
        """Online if that was asked for and works, else offline; why is said once."""
        folder = self.folder / self.attempt
        reason = self.card.reason
        if self.card.mode == "online":
            reason = why_unreachable()
            try:
                if not reason:
                    run = WandbRun(self.card, folder, is_online=True)
                    self._note(run)
                    # W&B says what it has: an earlier life may have lost its server half-way.
                    self.told = run.next_step - 1
                    return run
            except Exception as error:  # what a server answers is not ours to foresee
                reason = f"W&B does not open the run: {in_one_line(error)}"
                _forget_wandb()
        if reason:
            self.warn(f"W&B is offline: {reason}")
        run = WandbRun(self.card, folder, is_online=False)
        self._note(run)
        return run

    def _note(self, run: WandbRun) -> None:
        write_json(self.folder / links.STATE, {"id": self.card.id, "url": run.url})

    def warn(self, message: str) -> None:
        """Have the log of the run say something, after what it is to say already."""
        _warn(self.folder, message)

    def publish(self, *, is_over: bool) -> None:
        """Tell W&B the rows that are covered and that it does not have."""
        saved = lives.saved_step(self.run_dir)
        if saved == self._saved and not is_over:
            return  # a long journal is not read twice a second for nothing
        self._saved = saved
        rows = journal.read(self.folder / journal.NAME)
        found = [r for r in journal.covered(rows, saved, is_over=is_over) if r.step > self.told]
        if not found:
            return
        telemetry = telling.telemetry(self.run_dir, self.attempt)
        self.run.tell(found, lives.numbers(self.run_dir), **telemetry)
        self.told = found[-1].step

    def refresh(self) -> None:
        """Pass on what the task has added to the card."""
        card = cards.read(self.run_dir)
        if card is not None and card.config != self.card.config:
            self.run.describe(card.config)
            self.card = card

    def conclude(self, record: AttemptRecord | None) -> None:
        """Tell how this life ended, as far as it is known, and close."""
        self.refresh()
        outcome = record.outcome if record is not None else None
        is_completed = outcome == "completed"
        will_go_on = record is not None and outcome is None and record.stop_signal is not None
        self.publish(is_over=is_completed)
        self.run.summarize(telling.summary(self.run_dir, record))
        trouble = keep_checkpoint(self.run, self.run_dir, self.card) if is_completed else ""
        if trouble:
            self.warn(trouble)
        self.run.close(exit_code=0 if is_completed else 1, will_go_on=will_go_on)
        if self.run.url is None and not _is_written(self.run):
            self.warn("W&B's library did not write all rows; is the disk full?")
        if self.run.url is not None:
            # It has all that was told, of earlier lives too: `wandb sync` would send it twice.
            _mark_synced(self.folder, self.run)


def _warn(folder: Path, message: str) -> None:
    path = folder / running.WARNING
    known = path.read_text() if path.exists() else ""
    write_bytes(path, "; ".join(filter(None, [known, message])).encode())


def _is_written(run: WandbRun) -> bool:
    """Whether all rows that it was told are on disk; wandb-core writes on after its end is told."""
    until = time.monotonic() + WRITTEN_WITHIN_S
    while run.last_told not in (None, *fragments.read(run.file).steps[-1:]):
        if time.monotonic() > until:
            return False
        time.sleep(0.2)
    return True


def keep_checkpoint(run: WandbRun, run_dir: Path, card: Card) -> str:
    """Make the best checkpoint of a run an artifact, as its card wishes; returns what went wrong.

    Rows are worth more: trouble with a file keeps none of them back.
    """
    folder = cards.path_of(run_dir).parent
    found = kept.read(folder)
    if found is None or not kept.is_missing(found, card.id, card.checkpoint):
        return ""
    about = {"monitor": found.monitor, "score": found.score}
    try:
        run.keep(
            run_dir / found.path,
            f"checkpoint-{card.id}",
            "model",
            is_uploaded=card.checkpoint == "upload",
            **about,
        )
        kept.mark(folder, card.id)
    except Exception as error:  # what a server answers is not ours to foresee
        return f"the best checkpoint is no artifact: {in_one_line(error)}"
    return ""


def last_step(folder: Path, run_id: str) -> int:
    """The last step that any fragment of that id holds; -1 where none does."""
    found = (fragment for fragment in fragments.of_run(folder) if fragment.run_id == run_id)
    return max((step for fragment in found for step in fragment.steps), default=-1)


def _mark_synced(folder: Path, run: WandbRun) -> None:
    fragments.mark_synced(run.file)  # which wandb-core may not have flushed yet
    for fragment in fragments.of_run(folder):
        if fragment.run_id == run.id:
            fragment.mark_synced()


def _forget_wandb(exit_code: int | None = None) -> None:
    """Let a second try of this process begin anew, or say how the first ended."""
    import wandb

    wandb.teardown(exit_code)


def follow(publisher: Publisher, parent: int) -> None:
    """Publish until the attempt has ended."""
    while True:
        # Looked at before the rows are, so that none that were logged since are missed.
        record = store.attempt(publisher.run_dir, publisher.attempt)
        is_gone = os.getppid() != parent
        if is_gone or (record is not None and record.ended is not None):
            publisher.conclude(record)
            return
        publisher.refresh()
        publisher.publish(is_over=False)
        time.sleep(LOOK_S)


def _ignore_signals() -> None:
    """What a scheduler sends to all processes of a job is meant for the training."""
    for name in ("SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)


def deliver(run_dir: Path, attempt: str, *, is_over: bool, is_online: bool) -> None:
    """Tell W&B, or a last offline fragment, what nobody told it of a run whose life has ended.

    Online, W&B says what it has: what it took of a life that it lost is not told again.

    Raises:
        wandb.Error: the server refuses.
        LauncherError: it took all but the checkpoint.
    """
    folder = cards.path_of(run_dir).parent
    card = cards.read(run_dir)
    assert card is not None
    told = last_step(folder, card.id)
    run = WandbRun(card, folder / f"{attempt}-sync", is_online=is_online)
    if is_online:
        told = run.next_step - 1
        write_json(folder / links.STATE, {"id": card.id, "url": run.url})
    record = store.attempt(run_dir, attempt)
    is_completed = record is not None and record.outcome == "completed"
    rows = journal.covered(
        journal.read(folder / journal.NAME), lives.saved_step(run_dir), is_over=is_over
    )
    run.tell([row for row in rows if row.step > told], lives.numbers(run_dir))
    run.summarize(telling.summary(run_dir, record))
    if text := telling.alarm(run_dir):
        run.alert(f"{card.name} has stopped", text)
    trouble = keep_checkpoint(run, run_dir, card) if is_completed else ""
    run.close(exit_code=0 if is_completed else 1, will_go_on=not is_over)
    if is_online:
        _mark_synced(folder, run)
    if trouble:
        raise LauncherError(trouble)


def _deliver(given: argparse.Namespace) -> int:
    try:
        with pulse.beating(cards.path_of(given.run_dir).parent):
            deliver(given.run_dir, given.attempt, is_over=given.over, is_online=given.online)
    except Exception as error:  # told in one line, the last one, to whoever syncs
        traceback.print_exc()
        _forget_wandb(exit_code=1)
        sys.stderr.write(f"{in_one_line(error)}\n")
        return 1
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Publish one attempt; returns the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--attempt", required=True)
    parser.add_argument("--parent", type=int, help="Rank 0, which is followed while it lives.")
    parser.add_argument("--online", action="store_true", help="Without a parent: deliver now.")
    parser.add_argument("--over", action="store_true", help="No life will follow.")
    given = parser.parse_args(arguments)
    given.run_dir = given.run_dir.absolute()
    os.umask(0o077)
    os.chdir(given.run_dir.parents[2])  # files are named from the folder that holds the outputs
    os.environ["WANDB_ERROR_REPORTING"] = "false"  # else also an offline run tells W&B of itself
    if given.parent is None:
        return _deliver(given)
    _ignore_signals()
    os.nice(10)
    try:
        with pulse.beating(cards.path_of(given.run_dir).parent):
            follow(Publisher(given.run_dir, given.attempt), given.parent)
    except Exception as error:  # its end is told to the log of the run, whatever the cause
        traceback.print_exc()
        said = f"publishing to W&B stopped: {in_one_line(error)}"
        _warn(cards.path_of(given.run_dir).parent, said)
        _forget_wandb(exit_code=1)  # by itself it would tell W&B that all is well
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
