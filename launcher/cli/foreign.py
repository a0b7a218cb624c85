"""Commands of other packages behind `launch`: entry points of the group `launcher.commands`.

Each names a `typer.Typer`. A package is imported when one of its commands is called, not before:
to list the names, what pip has written down of them is enough.
"""

from __future__ import annotations

from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from launcher.errors import LauncherError

GROUP = "launcher.commands"


class Commands(TyperGroup):
    """Our commands, which come first, and those of other packages."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of all of them."""
        own = super().list_commands(ctx)
        return [*own, *(name for name in self._foreign if name not in own)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """One of ours by that name, else one of another package, else None."""
        return super().get_command(ctx, cmd_name) or self._foreign.get(cmd_name)

    @cached_property
    def _foreign(self) -> dict[str, Foreign]:
        found = sorted(entry_points(group=GROUP), key=lambda entry: entry.name)
        return {entry.name: Foreign(entry) for entry in found}


class Foreign(TyperCommand):
    """Stands for the commands of another package until one of them is called."""

    def __init__(self, entry: EntryPoint) -> None:
        self.entry = entry
        super().__init__(entry.name, help=f"Commands of {self.package}.")

    @property
    def package(self) -> str:
        """Name of the package, as it is installed."""
        return self.entry.dist.name if self.entry.dist is not None else self.entry.module

    def make_context(self, info_name: Any, args: Any, parent: Any = None, **extra: Any) -> Any:
        """The context of the command itself, which goes on from here.

        Raises:
            LauncherError: the package cannot be imported, or has no such commands.
        """
        return self._load().make_context(info_name, args, parent=parent, **extra)

    def _load(self) -> TyperGroup:
        what = f"`launch {self.name}` of the package `{self.package}`"
        try:
            app = self.entry.load()
        except Exception as error:
            # Whatever a foreign module raises while it is imported: ours go on without it.
            said = f"{type(error).__name__}: {error}".splitlines()[0]
            hint = f"import {self.entry.module} in Python to see more; other commands do without it"
            raise LauncherError(f"{what} cannot be loaded: {said}", hint=hint) from error
        if not isinstance(app, typer.Typer):
            raise LauncherError(
                f"{what}: `{self.entry.value}` is a {type(app).__name__}",
                hint=f"an entry point of `{GROUP}` names a typer.Typer",
            )
        return typer.main.get_group(app)
