"""The `#SBATCH` lines of a script, as sbatch itself reads them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from launcher.scripts.findings import ScriptFinding, error, warning
from launcher.scripts.options import SBATCH, Option, read_options
from launcher.scripts.shell import HEREDOC

MAGIC = "#SBATCH"
_ALMOST = re.compile(r"\s*#+\s*SBATCH\b", re.IGNORECASE)
_HET = ("hetjob", "packjob")


@dataclass(frozen=True, kw_only=True)
class Directive:
    """One option of sbatch, and where it stands."""

    name: str
    value: str
    line: int
    written: str


@dataclass(frozen=True, kw_only=True)
class Directives:
    """What sbatch takes from a script."""

    listed: tuple[Directive, ...]
    """In the order of the script; of several with one name the last one counts."""
    findings: tuple[ScriptFinding, ...]

    def get(self, name: str) -> Directive | None:
        """The directive of that name which counts."""
        return next((one for one in reversed(self.listed) if one.name == name), None)

    def value(self, name: str) -> str | None:
        """Its value; empty for a flag, None where the script does not say it."""
        found = self.get(name)
        return None if found is None else found.value

    def line(self, *names: str) -> int | None:
        """Where the first of these that is there stands."""
        return next((one.line for name in names if (one := self.get(name))), None)

    def written(self, *names: str) -> str:
        """The first of these that is there, as it is written."""
        return next((one.written for name in names if (one := self.get(name))), f"no --{names[0]}")


def read_directives(lines: Sequence[str]) -> Directives:
    """Options of all `#SBATCH` lines before the first command."""
    listed: list[Directive] = []
    findings: list[ScriptFinding] = []
    begun: int | None = None
    heredoc = ""
    for number, line in enumerate(lines, 1):
        if heredoc:
            # The text of another script, which this one writes or submits.
            heredoc = "" if line.strip() == heredoc else heredoc
        elif line.startswith(MAGIC) and begun is None:
            found = list(_of_line(line[len(MAGIC) :], number))
            listed.extend(one for one in found if isinstance(one, Directive))
            findings.extend(one for one in found if isinstance(one, ScriptFinding))
        elif _ALMOST.match(line):
            findings.extend(_ignored(line, number, begun))
        elif begun is None and line.strip() and not line.lstrip().startswith("#"):
            begun = number
        if not heredoc and not line.lstrip().startswith("#"):
            heredoc = _opened(line)
    findings.extend(_twice(listed))
    return Directives(listed=tuple(listed), findings=tuple(findings))


def _opened(line: str) -> str:
    """The mark that ends a heredoc which begins on this line; empty where none does."""
    found = HEREDOC.search(line.replace("<<<", ""))
    return found.group(3) if found else ""


def _of_line(text: str, number: int) -> Iterator[Directive | ScriptFinding]:
    words = list(_words(text))
    if words and words[0] in _HET:
        yield error(
            "hetjob",
            number,
            f"`{words[0]}` makes a job of unlike parts, which is not supported: one training has"
            " ranks of one kind",
            "one part: the same GPUs on each node",
        )
        return
    while words:
        if not words[0].startswith("-") or words[0] in ("-", "--"):
            yield error(
                "stray-word",
                number,
                f"`{words[0]}` is no option: sbatch refuses the script",
                "write it as --name=value, without blanks around `=`",
            )
            words.pop(0)
            continue
        options, words = read_options(words, SBATCH)
        for option in options:
            yield _directive(option, number)


def _directive(option: Option, number: int) -> Directive | ScriptFinding:
    if option.problem:
        return error("option", number, f"{option.problem}: sbatch refuses the script", "")
    return Directive(name=option.name, value=option.value, line=number, written=option.written)


def _words(text: str) -> Iterator[str]:
    """Words of a directive line: quotes hold together, `#` begins a comment."""
    word, quote, is_word = "", "", False
    for char in text:
        if quote:
            word, quote = (word, "") if char == quote else (word + char, quote)
        elif char in "\"'":
            quote, is_word = char, True
        elif char == "#":
            break
        elif char.isspace():
            if word or is_word:
                yield word
            word, is_word = "", False
        else:
            word += char
    if word or is_word:
        yield word


def _ignored(line: str, number: int, begun: int | None) -> Iterator[ScriptFinding]:
    """Lines that look like directives and are comments to sbatch."""
    text = line.strip()
    if line.startswith(MAGIC):
        yield error(
            "ignored-directive",
            number,
            f"`{text}` stands after the first command (line {begun}): sbatch does not read it",
            f"move it above line {begun}",
        )
    elif not text.startswith("##") and text.partition("SBATCH")[2].lstrip().startswith("-"):
        yield warning(
            "ignored-directive",
            number,
            f"`{text}` is a comment to sbatch: a directive begins with `#SBATCH` in the first"
            " column",
            f"{MAGIC} {text.partition('SBATCH')[2].strip()}",
        )


def _twice(listed: Sequence[Directive]) -> Iterator[ScriptFinding]:
    """Options that are said again with another value."""
    last = {one.name: one for one in listed}
    for one in listed:
        counts = last[one.name]
        if counts.value != one.value:
            yield warning(
                "said-twice",
                one.line,
                f"`{one.written}` is overruled by `{counts.written}` in line {counts.line}: the"
                " last one counts",
                f"keep one --{one.name}",
            )
