"""Text as wide as the terminal, or 80 columns in a pipe: tables, and sentences that go on below."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Collection, Sequence
from typing import Any

_GAP = "  "


def aligned(rows: Sequence[Sequence[str]], left: Collection[int]) -> str:
    """The rows as text, column under column; those of these numbers begin at their left, the others end at their right.

    A row with fewer cells than others ends in a sentence, and so do all rows if the last column is one of these: it has what is
    left of the line, and goes on below itself.
    """
    columns = max(map(len, rows))
    flowing = [len(row) < columns or columns - 1 in left for row in rows]
    fixed = [row[:-1] if flows else row for row, flows in zip(rows, flowing, strict=True)]
    widths = [max((len(cells[column]) for cells in fixed if column < len(cells)), default=0) for column in range(columns)]
    lines = []
    for row, cells, flows in zip(rows, fixed, flowing, strict=True):
        padded = [
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=False))
        ]
        start = "".join(cell + _GAP for cell in padded)
        lines.append((filled(row[-1], start) if flows else start).rstrip())
    return "\n".join(lines)


def filled(text: str, start: str = "") -> str:
    """The text after that start, on as many lines as it takes: the next ones begin below it, or a little to the right."""
    below = " " * (len(start) or len(_GAP))
    width = max(_width(), len(start) + 20)
    lines = textwrap.wrap(text, width, initial_indent=start, subsequent_indent=below, **_WHOLE_WORDS)
    return "\n".join(lines) or start.rstrip()


def reflowed(description: str) -> str:
    """The paragraphs of a docstring; each of the lines of an indented one stays one, with what stands below its explanation."""
    paragraphs = []
    for paragraph in description.strip().split("\n\n"):
        lines = paragraph.split("\n")
        if not lines[0].startswith(" "):
            paragraphs.append(textwrap.fill(" ".join(lines), _width(), **_WHOLE_WORDS))
            continue
        items: list[tuple[str, str]] = []
        for line in lines:
            if item := _ITEM.fullmatch(line):
                items.append((item[1], item[2]))
            else:
                start, text = items.pop()
                items.append((start, f"{text} {line.strip()}"))
        paragraphs.append("\n".join(filled(text, start) for start, text in items))
    return "\n\n".join(paragraphs)


_WHOLE_WORDS: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}
_ITEM = re.compile(r"( {4}(?:\S+(?: \S+)*  +)?)(\S.*)")
"""`    profile    what it is`: up to its explanation, and that."""


def _width() -> int:
    return shutil.get_terminal_size().columns
