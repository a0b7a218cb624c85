"""Commands of other packages: listed without an import, called when they are asked for."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from launcher import cli
from launcher.errors import LauncherError

GOOD = """\
import typer

app = typer.Typer(help="What the world is made of.")

@app.command()
def check(path: str, deep: bool = False) -> None:
    "Look."
    typer.echo(f"checked {path} {deep}")
"""
Launch = Callable[..., Result]


@pytest.fixture
def launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Launch]:
    """`launch` on a machine on which a package with these commands is installed."""
    info = tmp_path / "other-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    commands = {
        "sound": "other_sound:app",
        "broken": "other_broken:app",
        "wrong": "other_sound:check",
        "status": "other_broken:app",
    }
    lines = [f"{name} = {value}" for name, value in commands.items()]
    (info / "entry_points.txt").write_text("\n".join(["[launcher.commands]", *lines]) + "\n")
    (tmp_path / "other_sound.py").write_text(GOOD)
    (tmp_path / "other_broken.py").write_text("import nowhere_to_be_found\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda *words: CliRunner().invoke(cli.app, words)
    for name in ("other_sound", "other_broken"):
        sys.modules.pop(name, None)


def test_they_are_listed_with_their_package_and_nothing_is_imported(launch: Launch) -> None:
    shown = launch("--help")
    assert shown.exit_code == 0, shown.output
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown.output)
    listed = [line.split() for line in plain.splitlines()]
    assert ["sound", "Commands", "of", "other."] in [words[1:-1] for words in listed]
    assert not {"other_sound", "other_broken"} & set(sys.modules)


def test_a_command_gets_its_words_as_if_it_were_ours(launch: Launch) -> None:
    done = launch("sound", "check", "here", "--deep")
    assert (done.exit_code, done.output) == (0, "checked here True\n")
    told = launch("sound", "--help")
    assert "What the world is made of." in told.output
    assert "check" in told.output
    assert launch("sound", "chekc").exit_code == 2


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("broken", "`launch broken` of the package `other` cannot be loaded: ModuleNotFoundError"),
        ("wrong", "`other_sound:check` is a function"),
    ],
)
def test_one_that_is_broken_says_so_and_the_others_work(
    launch: Launch, name: str, says: str
) -> None:
    error = launch(name, "check").exception
    assert isinstance(error, LauncherError)
    assert says in error.message
    assert "\n" not in error.message
    assert launch("sound", "check", "here").exit_code == 0


def test_our_own_commands_cannot_be_taken_away(launch: Launch) -> None:
    told = launch("status", "--help")
    assert told.exit_code == 0
    assert "other_broken" not in sys.modules
