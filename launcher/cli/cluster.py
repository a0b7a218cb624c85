"""`launch cluster discover`, `launch cluster init`, `launch cluster show`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from launcher import ui
from launcher.cli.common import AsJson, print_json
from launcher.sites import finding, loading, questions, writing
from launcher.sites.asking import Asker
from launcher.sites.finding import Target
from launcher.sites.profile import Profile
from launcher.sites.questions import Question
from launcher.ui import sites as ui_sites

app = typer.Typer(no_args_is_help=True, help="Describe the site: find out, ask what is left, show.")

To = Annotated[
    Path | None,
    typer.Option("--to", help="File of the profile; else conf/cluster/site.yaml, or site.yaml."),
]
Name = Annotated[str | None, typer.Option("--name", help="Name of the profile.")]
Package = Annotated[
    str | None,
    typer.Option("--package", help="Where the profile goes in a config, for its `# @package`."),
]
Force = Annotated[bool, typer.Option("--force", help="Drop what was changed by hand.")]
TryNode = Annotated[
    bool,
    typer.Option("--try-node", help="Send a job of a minute: internet, names, shared folder."),
]


@app.command()
def discover(
    name: Name = None,
    to: To = None,
    package: Package = None,
    force: Force = False,
    try_node: TryNode = False,
    as_json: AsJson = False,
) -> None:
    """Ask SLURM what this site is, and write it as a profile."""
    target = Target.of(to, package)
    asker = Asker()
    found = finding.find(asker, name=name, account=None if force else target.account)
    if not force:
        target.carry_over(found)
    if try_node:
        finding.look_at_node(asker, found, Path.cwd())
    if as_json:
        print_json({**found.tree(), "remarks": found.remarks})
    if not as_json or to is not None:
        _save(target, found, force=force)


@app.command()
def init(
    account: Annotated[str | None, typer.Option("--account", help="Account of jobs.")] = None,
    partition: Annotated[
        str | None, typer.Option("--partition", help="Partition of jobs that name none.")
    ] = None,
    python: Annotated[
        str | None,
        typer.Option("--python", help="same, venv:FOLDER, conda:NAME or apptainer:IMAGE."),
    ] = None,
    modules: Annotated[
        str | None, typer.Option("--modules", help="Environment modules, with commas between.")
    ] = None,
    module_init: Annotated[
        str | None, typer.Option("--module-init", help="Shell file that defines `module`.")
    ] = None,
    work: Annotated[str | None, typer.Option("--work", help="Shared folder for outputs.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Take what is suggested.")] = False,
    name: Name = None,
    to: To = None,
    package: Package = None,
) -> None:
    """Ask SLURM and then you: account, partition, Python, modules, work folder."""
    target, asker = Target.of(to, package), Asker()
    ask = (lambda question: question.suggested) if yes else _asker()
    found = finding.find(asker, name=name, account=account or target.account)
    flags = {"--account": account or target.account}
    choice = questions.about_account(finding.accounts_in(found), flags["--account"])
    chosen = questions.answered([choice], flags, ask)["--account"] if choice else None
    if chosen != flags["--account"]:
        found = finding.find(asker, name=name, account=chosen)
    flags = {
        "--partition": partition,
        "--python": python,
        "--modules": modules,
        "--work": work,
    }
    target.carry_over(found)
    asked = questions.about_rest(found, finding.partitions_in(found))
    answers = questions.answered(asked, flags, ask)
    values = questions.python_values(answers["--python"], answers["--modules"], module_init)
    if answers.get("--partition"):
        values[("partition",)] = answers["--partition"]
    if answers["--work"] != "none":
        values[("work_dir",)] = str(Path(answers["--work"]).expanduser().absolute())
    _save(target, found, answers=values)


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="A profile, or its file.")] = "site",
    as_json: AsJson = False,
) -> None:
    """Show the partitions of a profile."""
    path = loading.find(name, finding.GROUP)
    cluster = loading.read(path)
    if as_json:
        from dataclasses import asdict

        print_json(asdict(cluster))
        return
    ui_sites.show_site(cluster, f"{cluster.name} ({path})")


def _save(
    target: Target,
    found: Profile,
    *,
    force: bool = False,
    answers: dict[tuple[str, ...], object] | None = None,
) -> None:
    written = target.save(found, force=force, answers=answers or {})
    if target.before is not None:
        before, after = target.before, written.text
        ui_sites.show_changes(
            target.path, writing.without_marks(before), writing.without_marks(after)
        )
    ui_sites.show_site(loading.read(target.path), f"{found.tree()['name']} ({target.path})")
    for remark in found.remarks:
        ui.say(f"  {remark}")
    if written.kept and target.before is not None:
        ui.say(f"kept as you changed them: {', '.join(written.kept)}")
    if written.gone:
        ui.say(f"gone from the site, and from the profile: {', '.join(written.gone)}")
    _say_how_to_use(target)


def _say_how_to_use(target: Target) -> None:
    if (place := target.misplaced()) is not None:
        ui.say(f"no config finds it there: move it into {place}")
    mark = "" if target.package is None else "+"
    ui.say(f"use it: hydra/launcher=slurm {mark}cluster={target.path.stem}")


def _asker() -> questions.Ask | None:
    """Asks on the terminal; None where there is none."""
    if not sys.stdin.isatty():
        return None
    return _ask


def _ask(question: Question) -> str:
    listed = f" [{', '.join(question.choices)}]" if question.choices else ""
    return str(typer.prompt(f"{question.text}{listed}", default=question.suggested, err=True))
