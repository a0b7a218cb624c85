"""Words and commands of a bash script, as far as they can be known without running it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

LITERAL_DOLLAR = "\x01"
"""Stands for a `$` that the shell leaves alone."""
_OPERATORS = ("&&", "||", ";;", "&>>", "&>", ">>", ">&", "<<<", ">", "<", "|", "&", ";", "(", ")")
_REDIRECTS = {"&>>", "&>", ">>", ">&", "<<<", ">", "<"}
HEREDOC = re.compile(r"<<(-?)\s*(['\"\\]?)([\w.-]+)\2")
_ARRAY = re.compile(r"\w+\+?=$")


@dataclass(frozen=True)
class Token:
    """A word, or an operator (a line break is one)."""

    text: str
    line: int
    is_operator: bool = False


@dataclass(frozen=True, kw_only=True)
class Command:
    """One simple command."""

    words: tuple[str, ...]
    line: int
    is_background: bool = False


@dataclass
class _Reader:
    """Reads a script character by character; quotes may span lines."""

    text: str
    line: int
    at: int = 0
    word: str = ""
    begun: int | None = None
    heredocs: list[str] = field(default_factory=list)

    def tokens(self) -> Iterator[Token]:
        while self.at < len(self.text):
            yield from self._step()
        yield from self._end_word()

    def _step(self) -> Iterator[Token]:
        text, at = self.text, self.at
        char = text[at]
        if text.startswith("\\\n", at):
            self.at += 2
            self.line += 1
        elif char == "\n":
            yield from self._end_word()
            yield Token("\n", self.line, is_operator=True)
            self._next_line()
        elif char in " \t":
            yield from self._end_word()
            self.at += 1
        elif char == "#" and self.begun is None:
            end = text.find("\n", at)
            self.at = len(text) if end < 0 else end
        elif found := HEREDOC.match(text, at) if not text.startswith("<<<", at) else None:
            yield from self._end_word()
            self.heredocs.append(found.group(3))
            self.at = found.end()
        elif char in "&|;<>()":
            yield from self._operator()
        else:
            self._char()

    def _next_line(self) -> None:
        """Go on behind a line break, and behind the heredocs that begin there."""
        self.at += 1
        self.line += 1
        for mark in self.heredocs:
            while self.at < len(self.text):
                end = self.text.find("\n", self.at)
                end = len(self.text) if end < 0 else end
                line = self.text[self.at : end]
                self.at = end + 1
                self.line += 1
                if line.strip() == mark:
                    break
        self.heredocs.clear()

    def _operator(self) -> Iterator[Token]:
        if self.text[self.at] == "(" and _ARRAY.match(self.word):
            self._add(self._balanced(self.at))
            return
        found = next(one for one in _OPERATORS if self.text.startswith(one, self.at))
        # The 2 of `2>&1` belongs to the redirection.
        if found in _REDIRECTS and self.word.isdigit():
            self.word, self.begun = "", None
        yield from self._end_word()
        self.at += len(found)
        if found == ">&" and self.text[self.at : self.at + 1].isdigit():
            self.at += 1
            return
        yield Token(found, self.line, is_operator=True)

    def _char(self) -> None:
        char = self.text[self.at]
        if char == "\\":
            self._take(self.text[self.at + 1 : self.at + 2].replace("$", LITERAL_DOLLAR), 2)
        elif char == "'":
            end = self.text.find("'", self.at + 1)
            if end < 0:
                raise ValueError(f"the quote in line {self.line} is never closed")
            inner = self.text[self.at + 1 : end]
            self._take(inner.replace("$", LITERAL_DOLLAR), len(inner) + 2)
        elif char == '"':
            self._double()
        elif self.text.startswith("$(", self.at):
            self._add(self._balanced(self.at + 1, 1))
        elif char == "`":
            end = self.text.find("`", self.at + 1)
            end = len(self.text) - 1 if end < 0 else end
            self._add(self.text[self.at : end + 1])
        else:
            self._take(char, 1)

    def _double(self) -> None:
        opened, self.at = self.line, self.at + 1
        self._take("", 0)
        while self.at < len(self.text) and self.text[self.at] != '"':
            if self.text[self.at] == "\\" and self.text[self.at + 1 : self.at + 2] in '"\\`$\n':
                kept = self.text[self.at + 1].replace("$", LITERAL_DOLLAR)
                self.line += kept == "\n"
                self._take("" if kept == "\n" else kept, 2)
            elif self.text.startswith("$(", self.at):
                self._add(self._balanced(self.at + 1, 1))
            else:
                self._add(self.text[self.at])
        if self.at >= len(self.text):
            raise ValueError(f"the quote in line {opened} is never closed")
        self.at += 1

    def _balanced(self, start: int, before: int = 0) -> str:
        """Text from `start` (an opening parenthesis) to where it closes."""
        depth = 0
        for end in range(start, len(self.text)):
            depth += {"(": 1, ")": -1}.get(self.text[end], 0)
            if depth == 0:
                return self.text[start - before : end + 1]
        raise ValueError(f"the parenthesis in line {self.line} is never closed")

    def _add(self, text: str) -> None:
        """Take text as it stands."""
        self._take(text, len(text))

    def _take(self, text: str, length: int) -> None:
        if self.begun is None:
            self.begun = self.line
        self.line += self.text.count("\n", self.at, self.at + length)
        self.word += text
        self.at += length

    def _end_word(self) -> Iterator[Token]:
        if self.begun is not None:
            yield Token(self.word, self.begun)
        self.word, self.begun = "", None


def tokens(text: str, line: int = 1) -> list[Token]:
    """Split a script into words and operators.

    Raises:
        ValueError: a quote or parenthesis is never closed.
    """
    return list(_Reader(text, line).tokens())


def commands(text: str, line: int = 1) -> Iterator[Command]:
    """Simple commands in the order of the script; redirections are left out.

    Raises:
        ValueError: a quote or parenthesis is never closed.
    """
    words: list[Token] = []
    piped: list[list[Token]] = []
    skips = False
    for token in [*tokens(text, line), Token("\n", 0, is_operator=True)]:
        if token.is_operator and token.text in _REDIRECTS:
            skips = True
        elif not token.is_operator:
            if not skips:
                words.append(token)
            skips = False
        elif words:
            piped.append(words)
            words = []
            if token.text != "|":
                yield from (_command(part, token) for part in piped)
                piped = []


def _command(words: list[Token], end: Token) -> Command:
    return Command(
        words=tuple(word.text for word in words),
        line=words[0].line,
        is_background=end.text == "&",
    )
