"""A LaTeX tabular with the rules of the booktabs package; what was profiled and the definitions are comments."""

from __future__ import annotations

import re
from typing import TextIO

from cnnprof.profiling.profile import Profile
from cnnprof.render.columns import Column
from cnnprof.render.glyphs import UNICODE
from cnnprof.render.grid import Grid, grid
from cnnprof.render.quantities import plain
from cnnprof.render.style import find
from cnnprof.render.terminal import unicode
from cnnprof.render.totals import sentences, subject
from cnnprof.render.view import View

_SPECIAL = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "{": r"\{",
        "}": r"\}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "^": r"\textasciicircum{}",
        "~": r"\textasciitilde{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "[": "{[}",  # after \\ a bracket would be an argument
        "]": "{]}",
        "·": r"$\cdot$",
        "…": r"\dots{}",
        **{digit: rf"\textsuperscript{{{number}}}" for number, digit in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
    }
)
_GUIDES = dict.fromkeys((UNICODE.branch, UNICODE.last, UNICODE.through, UNICODE.blank), r"\quad{}")
_GUIDE = re.compile("|".join(map(re.escape, _GUIDES)))


def write(profile: Profile, view: View, file: TextIO) -> None:
    """Writes comments, the tabular of the view and, as comments, the totals with their definitions."""
    table = grid(profile, view, find(view.style), UNICODE)
    lines = [f"% {plain(profile.network)}: {', '.join(subject(profile))}", r"% needs \usepackage{booktabs}"]
    lines += _tabular(table)
    lines += [f"% {sentence}" for sentence in sentences(profile, table.columns)]
    text = "\n".join(lines) + "\n"
    # A backslash would start a command, so characters that the stream does not take cannot be escaped as elsewhere.
    file.write(text if unicode(file) else text.encode("ascii", "replace").decode("ascii"))


def _tabular(table: Grid) -> list[str]:
    lines = [rf"\begin{{tabular}}{{{''.join('r' if column.right else 'l' for column in table.columns)}}}", r"\toprule"]
    lines += [_line([_escaped(heading) for heading in table.headings]), r"\midrule"]
    body = [_line([_cell(column, cell) for column, cell in zip(table.columns, cells, strict=True)]) for cells in table.cells]
    return [*lines, *body[:-1], r"\midrule", body[-1], r"\bottomrule", r"\end{tabular}"]


def _line(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


def _cell(column: Column, cell: str) -> str:
    if column.right:
        return re.sub(r"(?<=\d)x(?=\d)", lambda found: r"$\times$", _escaped(cell).replace(r"\textgreater{}=", r"$\geq$"))
    start = 0
    indents = ""
    while found := _GUIDE.match(cell, start):
        indents += _GUIDES[found.group()]
        start = found.end()
    return indents + _escaped(cell[start:])


def _escaped(text: str) -> str:
    return text.translate(_SPECIAL)
