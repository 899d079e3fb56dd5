"""What the stream can show, and writing styled text to it."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TextIO, TypeAlias

from cnnprof.render.glyphs import ASCII, UNICODE, Glyphs

Line: TypeAlias = list[tuple[str, str]]
"""Pieces of one line: text and how it is styled, in rich's words; `""` for plain."""


@dataclass(frozen=True, slots=True)
class Terminal:
    """What the stream can show."""

    width: int | None
    """Columns; None where nothing limits them, as in a pipe."""
    styled: bool
    """Whether bold, dim and colour are wanted."""
    glyphs: Glyphs


def terminal(file: TextIO, environ: Mapping[str, str] = os.environ) -> Terminal:
    """What `file` can show: `NO_COLOR`, `FORCE_COLOR`, `TERM=dumb` and `COLUMNS` say more than the stream itself.

    A set `COLUMNS` counts in a pipe too; without it a pipe has no width. A text buffer in memory is neither a terminal
    nor a pipe: what ends up in a file or a variable depends on no environment.
    """
    if getattr(file, "encoding", None) is None:
        return Terminal(None, False, UNICODE)
    is_terminal = file.isatty()
    dumb = environ.get("TERM", "").lower() in ("dumb", "unknown")
    styled = (bool(environ.get("FORCE_COLOR")) or (is_terminal and not dumb)) and not environ.get("NO_COLOR")
    return Terminal(_width(file, is_terminal, environ), styled, UNICODE if unicode(file) else ASCII)


def unicode(file: TextIO) -> bool:
    """Whether every character can be written to `file`; a text buffer in memory has no encoding and takes all."""
    encoding = getattr(file, "encoding", None)
    if encoding is None:
        return True
    try:
        return codecs.lookup(encoding).name.startswith("utf")
    except LookupError:
        return False


def encodable(text: str, file: TextIO) -> str:
    """The text as it is, or escaped where `file` does not take all characters."""
    return text if unicode(file) else escaped(text)


def escaped(text: str) -> str:
    """The text in ASCII, other characters as `\\xe9`, so that no two names become one; before anything is aligned."""
    return text if text.isascii() else text.encode("ascii", "backslashreplace").decode("ascii")


def _width(file: TextIO, is_terminal: bool, environ: Mapping[str, str]) -> int | None:
    columns = environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns) > 0:
        return int(columns)
    if not is_terminal:
        return None
    try:
        return os.get_terminal_size(file.fileno()).columns or None
    except (OSError, ValueError, AttributeError):
        return None  # something that calls itself a terminal and has no size


_WIDEST = 1_000_000
"""Rich is told no width: the lines are laid out already."""


def emit(lines: Iterable[Line], file: TextIO, styled: bool) -> None:
    """Writes the lines without trailing spaces, with rich's colours where they are wanted.

    Rich only paints: it would wrap, crop and shorten what it lays out itself, and its tables take 170 µs a row.
    """
    lines = [_stripped(line) for line in lines]
    if not styled:
        file.write(encodable("".join("".join(text for text, _ in line) + "\n" for line in lines), file))
        return
    from rich.console import Console
    from rich.segment import Segment, Segments
    from rich.style import Style

    pieces: list[Segment] = []
    for line in lines:
        pieces += [Segment(encodable(text, file), Style.parse(style) if style else None) for text, style in line]
        pieces.append(Segment.line())
    console = Console(file=file, width=_WIDEST, force_terminal=True, color_system="standard", no_color=False)
    console.print(Segments(pieces), crop=False, end="")


def _stripped(line: Line) -> Line:
    line = line[:]
    while line:
        text, style = line.pop()
        if text := text.rstrip(" "):
            return [*line, (text, style)]
    return line
