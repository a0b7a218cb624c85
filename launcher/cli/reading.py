"""`launch logs`, `launch show`, `launch doctor`."""

from __future__ import annotations

import difflib
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from launcher import logs as job_logs
from launcher import measures, observing, store, studies, ui
from launcher.cli.common import (
    OUTPUTS,
    AsJson,
    Picked,
    Root,
    StudyName,
    Words,
    pick,
    print_json,
    scheduler_of,
)
from launcher.cli.running import PROGRAM, Program, run_program
from launcher.doctor import diagnose
from launcher.errors import ConfigError, LauncherError
from launcher.selection import select_one
from launcher.states import FINAL, RunStatus
from launcher.trees import leaves
from launcher.ui import use as ui_use

Doctored = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[SCRIPT | OVERRIDES... | [STUDY] RUN]",
        help="A file, overrides of the program, or one run of a study.",
    ),
]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")]
Rank = Annotated[int, typer.Option("--rank", help="Which training process.")]
Diff = Annotated[str | None, typer.Option("--diff", help="Another run to compare configs with.")]
_SCRIPTS = (".slurm", ".sbatch", ".sh", ".bash", ".sub")
_BLOCK = 1 << 16
_POLL_S = 0.5


def logs(
    words: Words = None,
    study: StudyName = None,
    root: Root = OUTPUTS,
    follow: Follow = False,
    rank: Rank = 0,
) -> None:
    """Print what a run wrote, the latest attempt's job from its first line."""
    picked = pick(words, study, root)
    run = _one(picked, picked.study.status())
    _refuse_rank_that_is_not(run, rank)
    try:
        _print_log(picked, run, rank, follow=follow)
    except KeyboardInterrupt:
        ui.say("stopped reading; the run goes on")


def _one(picked: Picked, statuses: list[RunStatus]) -> RunStatus:
    return statuses[select_one(statuses, picked.words)]


def _refuse_rank_that_is_not(run: RunStatus, rank: int) -> None:
    """A rank of no process has no log, now or later.

    Raises:
        ConfigError: the run's latest sending has no such rank, or no run has.
    """
    if rank < 0:
        raise ConfigError(f"`--rank {rank}`: ranks count from 0")
    sent = store.submission(run.run_dir, run.key)
    if sent is None or rank < sent.shape.world_size:
        return
    ranks = sent.shape.world_size
    those = "only rank 0" if ranks == 1 else f"ranks 0 to {ranks - 1}"
    raise ConfigError(f"`--rank {rank}`: `{run.name}` has {those}")


def _print_log(picked: Picked, run: RunStatus, rank: int, *, follow: bool) -> None:
    path = _wait_for_log(picked, run, rank) if follow else job_logs.find(picked.study, run, rank)
    if path is None and run.state in FINAL:
        raise LauncherError(f"`{run.name}` left no log of rank {rank}", hint="rank 0 always logs")
    if path is None:
        raise LauncherError(
            f"`{run.name}` has no log of rank {rank} yet: it is {run.state}",
            hint="-f waits for it",
        )
    with open(path, "rb") as file:
        ended = not follow
        while True:
            while block := file.read(_BLOCK):
                sys.stdout.buffer.write(block)
            sys.stdout.flush()
            if ended:
                return
            # Looked at before the last read, so that nothing written since is missed.
            ended = _has_ended(picked, run)
            time.sleep(_POLL_S)


def _wait_for_log(picked: Picked, run: RunStatus, rank: int) -> Path | None:
    while (path := job_logs.find(picked.study, run, rank)) is None:
        if _has_ended(picked, run):
            return None
        time.sleep(_POLL_S)
    return path


def _has_ended(picked: Picked, run: RunStatus) -> bool:
    entries = [entry for entry in picked.study.entries() if entry.key == run.key]
    last = store.attempts(run.run_dir)
    if last and last[-1].outcome is not None:
        return True
    now = observing.statuses(entries, scheduler_of(picked.study))[run.key]
    return now.state in FINAL


def show(
    words: Words = None,
    study: StudyName = None,
    root: Root = OUTPUTS,
    diff: Diff = None,
    as_json: AsJson = False,
) -> None:
    """Show one run: its record, its attempts, its config, or how that differs from another's."""
    picked = pick(words, study, root)
    statuses = picked.study.status(scheduler_of(picked.study))
    run = _one(picked, statuses)
    other = statuses[select_one(statuses, [diff])] if diff is not None else None
    lives = [life.model_dump() for life in store.attempts(run.run_dir, key=run.key)]
    sent = [
        record.model_dump(mode="json", exclude={"parameters"})
        for record in store.submissions(run.run_dir)
        if record.key == run.key
    ]
    config = config_text(run) if other is None else config_diff(run, other)
    taken = [m for m in measures.of_run(Path(run.run_dir)) if m.ranks[0].key == run.key]
    if as_json:
        use = {m.attempt: [rank.model_dump(mode="json") for rank in m.ranks] for m in taken}
        found = {"attempts": lives, "submissions": sent, "config": config, "use": use}
        print_json({**asdict(run), **found})
        return
    ui.show_run(run, sent, lives)
    ui_use.show_use(taken)
    ui.show_text("config" if other is None else f"config of {run.name} -> {other.name}", config)
    if run.outcome == "task_error" and lives and lives[-1].get("traceback"):
        ui.show_text("traceback", str(lives[-1]["traceback"]))


def doctor(
    words: Doctored = None,
    study: StudyName = None,
    root: Root = OUTPUTS,
    as_json: AsJson = False,
    program: Program = PROGRAM,
    cluster: Annotated[str | None, typer.Option(help="Profile to judge a script by.")] = None,
    rank_gb: Annotated[
        float | None, typer.Option(help="What a rank was seen to hold [GB].")
    ] = None,
    worker_gb: Annotated[float | None, typer.Option(help="And each of its workers [GB].")] = None,
) -> None:
    """Explain a run, check a submission before it is sent, or judge an old sbatch script.

    RUN: what happened in each life, how we know, what was done, what to do.
    OVERRIDES, or nothing: all checks of what `python train.py OVERRIDES` would send.
    SCRIPT: what is wrong with a script written by hand, and what to use instead.
    """
    listed = list(words or [])
    if len(listed) == 1 and _is_script(Path(listed[0])):
        from launcher import scripts

        code = scripts.judge(
            Path(listed[0]), cluster, as_json=as_json, rank_gb=rank_gb, worker_gb=worker_gb
        )
        raise typer.Exit(code)
    if study is None and _are_overrides(listed):
        extra = ["hydra.launcher.as_json=true"] if as_json else []
        run_program(program, listed, "doctor", *extra)
    else:
        _explain_run(words, study, root, as_json=as_json)


def _are_overrides(words: list[str]) -> bool:
    """Whether words are of a program; of a run only where they begin with a study or a number."""
    if not words:
        return PROGRAM.is_file()
    return "=" in words[0] or words[0].startswith("~")  # `~key` removes a key


def _is_script(path: Path) -> bool:
    return path.is_file() or path.suffix in _SCRIPTS


def _explain_run(words: Words, study: StudyName, root: Path, *, as_json: bool) -> None:
    picked = pick(words, study, root)
    run = _one(picked, picked.study.status(scheduler_of(picked.study)))
    lives = store.attempts(run.run_dir, key=run.key)
    verdicts = [v for v in store.verdicts(run.run_dir) if v.key == run.key]
    diagnosis = diagnose(run, lives, verdicts)
    if as_json:
        print_json(asdict(diagnosis))
        return
    ui.show_diagnosis(diagnosis)


def config_text(run: RunStatus) -> str:
    """The frozen config of a run as YAML."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(studies.frozen_config(Path(run.run_dir)))


def config_diff(run: RunStatus, other: RunStatus) -> str:
    """Lines in which the frozen configs of two runs differ, each with its full key."""
    mine, theirs = (_flat(studies.frozen_config(Path(r.run_dir))) for r in (run, other))
    lines = difflib.unified_diff(
        [f"{key}: {value}" for key, value in mine.items()],
        [f"{key}: {value}" for key, value in theirs.items()],
        lineterm="",
        n=0,
    )
    return "\n".join(line for line in lines if not line.startswith(("---", "+++", "@@")))


def _flat(config: Any) -> dict[str, Any]:
    from omegaconf import OmegaConf

    plain: Any = OmegaConf.to_container(config, resolve=False)
    return dict(sorted(leaves(plain)))
