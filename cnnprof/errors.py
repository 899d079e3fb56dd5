"""What can go wrong, where it went wrong, and how that is said.

Every error that a user can cause is a `CnnprofError`. The command line catches it in one place, prints it to stderr and exits
with its code; a caller of the API can catch it and read its parts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property

EXIT_FAILED = 1
"""A check failed."""
EXIT_CANNOT_RUN = 2
"""There was no answer: unusable input or options."""


_LINE_END = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
"""Where YAML ends a line: fewer places than `str.splitlines` does."""


@dataclass(frozen=True)
class Source:
    """A text and the name by which the user knows it."""

    name: str
    text: str = field(repr=False)

    @cached_property
    def lines(self) -> list[str]:
        return _LINE_END.split(self.text)

    def line(self, number: int) -> str:
        """The line of that number, counted from 1, without its end."""
        return self.lines[number - 1] if 0 < number <= len(self.lines) else ""


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of one line of a source. Lines and columns count from 1."""

    source: Source
    line: int
    column: int
    width: int = 1

    def __str__(self) -> str:
        return f"{self.source.name}:{self.line}:{self.column}"

    def part(self, offset: int, width: int) -> Span:
        """The `width` characters that start `offset` characters into this span."""
        return Span(self.source, self.line, self.column + offset, max(1, width))


@dataclass(frozen=True, slots=True)
class Frame:
    """One step of the way into a spec: the block that was entered, with the values its parameters took."""

    call: str
    span: Span | None


class CnnprofError(Exception):
    """The root of every error that the input can cause."""

    exit_code = EXIT_CANNOT_RUN


@dataclass(eq=False)
class SpecError(CnnprofError):
    """A spec that cannot be read or built: what is wrong, where exactly, how one got there and what to do about it."""

    code: str
    message: str
    span: Span | None = None
    help: str = ""
    frames: Sequence[Frame] = field(default=())
    """Outermost block first."""

    def __str__(self) -> str:
        return full(self)


class UsageError(CnnprofError):
    """Options or arguments that cannot be used together, or name nothing."""


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """`did you mean "Conv2d"?` for the nearest of the known words, or an empty text where none is near."""
    by_lower = {name.lower(): name for name in reversed(known)}
    near = get_close_matches(word.lower(), list(by_lower), n=1, cutoff=0.6)
    return f'did you mean "{by_lower[near[0]]}"?' if near else ""


def full(error: CnnprofError, encoding: str = "utf-8") -> str:
    """The error as a person reads it: where, what, the line with a caret under the piece, the way there, a suggestion.

    `encoding` is that of the stream: what it lacks is escaped here, as stderr would do, so that the caret is where it should be.
    """
    if not isinstance(error, SpecError):
        return "\n".join(printable(line, encoding) for line in f"error: {error}".split("\n"))
    place = f"{error.span}: " if error.span else ""
    lines = [f"{place}error[{error.code}] {error.message}"]
    if error.span and (text := error.span.source.line(error.span.line)).strip():
        lines += _excerpt(text, error.span, encoding)
    lines += _way(error.frames)
    if error.help:
        lines.append(f"  help: {error.help}")
    return "\n".join(printable(line, encoding) for line in lines)


def printable(text: str, encoding: str = "utf-8") -> str:
    """The text in one line that moves no cursor, as names come from files that anyone may have written, and as it is encoded."""
    shown = "".join(c if c.isprintable() else "?" for c in text)
    return shown.encode(encoding, "backslashreplace").decode(encoding)


_FRAMES = 8
"""Frames that are shown: the outermost and the innermost, where there are more."""


def _way(frames: Sequence[Frame]) -> list[str]:
    lines = [f"  in {frame.call}" + (f" at {frame.span}" if frame.span else "") for frame in frames]
    left_out = len(lines) - _FRAMES
    if left_out <= 0:
        return lines
    half = _FRAMES // 2
    return [*lines[:half], f"  … {left_out} more …", *lines[-half:]]


_EXCERPT = 100
"""Characters of a source line that are shown: more would wrap, and the caret would point at nothing."""


def _excerpt(text: str, span: Span, encoding: str) -> list[str]:
    from rich.cells import cell_len

    start = 0 if span.column + span.width <= _EXCERPT else max(0, span.column - _EXCERPT // 2)
    shown = text.expandtabs(1)[start : start + _EXCERPT]
    first = span.column - 1 - start
    before, piece = (cell_len(printable(part, encoding)) for part in (shown[:first], shown[first : first + span.width]))
    gutter = f"  {span.line} | "
    return [f"{gutter}{shown}", " " * (len(gutter) + before) + "^" * max(1, piece)]


def concise(error: CnnprofError) -> str:
    """The error in one line, for editors."""
    return full(error).partition("\n")[0]
