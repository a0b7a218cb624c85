"""What a person has to say of a site that SLURM does not know. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launcher.errors import ConfigError, one_of
from launcher.sites.profile import Key, Profile
from launcher.sites.python_start import KINDS


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question, the flag that answers it beforehand, and what is suggested."""

    flag: str
    text: str
    suggested: str
    choices: Sequence[str] = ()


Ask = Callable[[Question], str]
"""Asks a person."""


def about_account(accounts: Sequence[str], default: str | None) -> Question | None:
    """Only where there is a choice."""
    if len(accounts) < 2:
        return None
    suggested = default if default in accounts else accounts[0]
    return Question(flag="--account", text="account", suggested=suggested or "", choices=accounts)


def about_rest(found: Profile, partitions: Sequence[str]) -> list[Question]:
    """Partition, Python, modules, folders."""
    tree = found.tree()
    questions = []
    if len(partitions) > 1:
        questions.append(
            Question(
                flag="--partition",
                text="partition of jobs that name none (auto: the best one)",
                suggested=str(tree.get("partition", "auto")),
                choices=[*partitions, "auto"],
            )
        )
    kinds = "same, venv:FOLDER, conda:NAME or apptainer:IMAGE"
    questions += [
        Question(flag="--python", text=f"Python on a node ({kinds})", suggested="same"),
        Question(
            flag="--modules", text="environment modules, with commas between", suggested="none"
        ),
        Question(
            flag="--work",
            text="folder for outputs that nodes share",
            suggested=str(tree.get("work_dir", "none")),
        ),
    ]
    return questions


def answered(
    questions: Sequence[Question],
    flags: Mapping[str, str | None],
    ask: Ask | None,
) -> dict[str, str]:
    """Flag -> answer, from the flags or by asking.

    Args:
        questions: The questions.
        flags: What the command line says.
        ask: Asks a person; None where nobody is there.

    Raises:
        ConfigError: nobody is there, or an answer is none of the choices.
    """
    given = {flag: value for flag, value in flags.items() if value is not None}
    missing = [question for question in questions if question.flag not in given]
    if missing and ask is None:
        told = " ".join(f"{q.flag} {q.suggested or 'NAME'}" for q in missing)
        raise ConfigError(
            "nobody can be asked here (stdin is no terminal)",
            hint=f"say it with flags: launch cluster init {told}, or take all of these by --yes",
        )
    for question in missing:
        assert ask is not None
        given[question.flag] = ask(question)
    for question in questions:
        if question.choices:
            one_of(question.flag, given[question.flag], tuple(question.choices))
    return given


def python_values(answer: str, modules: str | None, init: str | None) -> dict[Key, Any]:
    """`venv:/path` and the names of modules as values of the profile.

    Raises:
        ConfigError: an unknown kind, or one without its path.
    """
    kind, _, path = answer.partition(":")
    one_of("--python", kind, KINDS)
    if kind != "same" and not path:
        raise ConfigError(f"`--python {kind}` needs a path", hint=f"--python {kind}:PATH")
    values: dict[Key, Any] = {}
    if kind != "same":
        values[("python", "kind")] = kind
        values[("python", "path")] = path
    names = [name.strip() for name in (modules or "").split(",")]
    if chosen := [name for name in names if name and name != "none"]:
        values[("python", "modules")] = chosen
    if init:
        values[("python", "module_init")] = init
    return values
