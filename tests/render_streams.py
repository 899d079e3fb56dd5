"""Streams that pretend to be a terminal or a pipe, and reading printed tables back."""

from __future__ import annotations

import io
import re
import unicodedata
from dataclasses import dataclass

from cnnprof.profiling.profile import Profile
from cnnprof.render import View, write

ANSI = re.compile(r"\x1b\[[0-9;]*m")


class Stream(io.StringIO):
    """A text stream with an encoding, which may say that it is a terminal; it refuses what it cannot encode."""

    def __init__(self, encoding: str = "utf-8", terminal: bool = False) -> None:
        super().__init__()
        self._encoding = encoding
        self._terminal = terminal

    @property
    def encoding(self) -> str:  # type: ignore[override] # a buffer in memory has none
        return self._encoding

    def isatty(self) -> bool:
        return self._terminal

    def write(self, text: str, /) -> int:
        text.encode(self._encoding)
        return super().write(text)


def printed(profile: Profile, view: View | None = None, format: str = "table", stream: Stream | None = None) -> str:
    """What the stream gets; a pipe by default."""
    stream = stream or Stream()
    write(profile, view or View(), stream, format)
    return stream.getvalue()


def spread(line: str) -> str:
    """The line with as many characters as it has terminal columns, so that positions can be compared."""
    shown = []
    for character in line:
        if not unicodedata.combining(character):
            shown.append(character)
            if unicodedata.east_asian_width(character) in "WF":
                shown.append("#")
    return "".join(shown)


@dataclass(frozen=True)
class Printed:
    """A printed table: its rows between the rules, cut at the right edges of its headings."""

    headings: list[str]
    rows: list[list[str]]
    """Of each row the cells that stand under headings from the second on."""
    total: list[str] | None
    after: list[str]
    """The lines below the table."""


_RULE = re.compile(r"[─=-]{10,}")


def read_table(text: str) -> Printed:
    """Reads a table of any style back, by the positions of its headings alone."""
    lines = [spread(line) for line in ANSI.sub("", text).splitlines()]
    rules = [number for number, line in enumerate(lines) if _RULE.fullmatch(line)]
    if lines[rules[1]].startswith("="):  # torchsummary: a rule above the headings too
        rules = rules[1:]
    found = list(re.finditer(r"\S+(?: \S+)*", lines[rules[0] - 1]))
    found = [heading for heading in found if not heading.group().startswith("share")]
    rows = [_cells(line, found) for line in lines[rules[0] + 1 : rules[1]]]
    total_line = lines[rules[1] + 1]
    total = _cells(total_line, found) if "TOTAL" in total_line else None
    return Printed([heading.group() for heading in found], rows, total, lines[rules[1] + 1 :])


def _cells(line: str, headings: list[re.Match[str]]) -> list[str]:
    cells = []
    for heading in headings[1:]:
        end = heading.end()
        end += line[end : end + 1] == ")"
        cell = re.search(r"(?:^|\s{2,})(\S+(?: \S+)*)$", line[:end].ljust(end))
        cells.append(cell.group(1) if cell else "")
    return cells


def number(cell: str) -> int:
    """The number of a cell: what stands after the formula, if there is one."""
    return int(cell.rpartition("= ")[2].replace(",", "").strip())
