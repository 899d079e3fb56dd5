"""A table in GitHub's Markdown, with the totals and their definitions as a list below it."""

from __future__ import annotations

import re
from typing import TextIO

from cnnprof.profiling.profile import Profile
from cnnprof.render import text
from cnnprof.render.columns import Column
from cnnprof.render.grid import Grid, grid
from cnnprof.render.quantities import plain
from cnnprof.render.row import Role, Row
from cnnprof.render.style import find
from cnnprof.render.terminal import encodable, terminal
from cnnprof.render.totals import sentences, subject
from cnnprof.render.view import View

_SPECIAL = re.compile(r"([\\`*_|<>\[\]~])")


def write(profile: Profile, view: View, file: TextIO) -> None:
    """Writes a heading, the table of the view and the list of totals."""
    table = grid(profile, view, find(view.style), terminal(file).glyphs)
    lines = [f"**{escaped(plain(profile.network))}**: {escaped(', '.join(subject(profile)))}", "", *_table(table), ""]
    lines += [f"- {escaped(sentence)}" for sentence in sentences(profile, table.columns)]
    file.write(encodable("\n".join(lines) + "\n", file))


def _table(table: Grid) -> list[str]:
    cells = [[escaped(heading) for heading in table.headings]]
    for row, texts in zip(table.rows, table.cells, strict=True):
        cells.append([_cell(row, column, cell) for column, cell in zip(table.columns, texts, strict=True)])
    widths = [max(3, *map(text.width, column)) for column in zip(*cells, strict=True)]
    rights = [column.right for column in table.columns]
    lines = [_line(row, widths, rights) for row in cells]
    rule = [f"{'-' * (width - 1)}:" if right else f":{'-' * (width - 1)}" for width, right in zip(widths, rights, strict=True)]
    return [lines[0], f"| {' | '.join(rule)} |", *lines[1:]]


def _line(cells: list[str], widths: list[int], rights: list[bool]) -> str:
    padded = [text.padded(cell, width, right) for cell, width, right in zip(cells, widths, rights, strict=True)]
    return f"| {' | '.join(padded)} |"


def _cell(row: Row, column: Column, cell: str) -> str:
    if not cell:
        return ""
    if row.role is Role.TOTAL:
        return f"**{escaped(cell)}**"
    return _code(cell) if row.layer and not column.right else escaped(cell)


def _code(cell: str) -> str:
    """The text as code, in which only a bar is special inside a table; the spaces in a tree's lines stay."""
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", cell)), default=0))
    space = " " if len(fence) > 1 else ""
    return f"{fence}{space}{cell.replace('|', chr(92) + '|').replace('  ', chr(0xA0) * 2)}{space}{fence}"


def escaped(cell: str) -> str:
    return _SPECIAL.sub(r"\\\1", cell)
