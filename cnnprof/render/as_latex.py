"""A LaTeX tabular with the rules of the booktabs package; what was profiled and the definitions are comments."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TextIO

from cnnprof.profiling.profile import Profile
from cnnprof.render.glyphs import UNICODE
from cnnprof.render.grid import grid
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
NEEDED = r"% needs \usepackage{booktabs}"

_GUIDES = dict.fromkeys((UNICODE.branch, UNICODE.last, UNICODE.through, UNICODE.blank), r"\quad{}")
_GUIDE = re.compile("|".join(map(re.escape, _GUIDES)))


def write(profile: Profile, view: View, file: TextIO) -> None:
    """Writes comments, the tabular of the view and, as comments, the totals with their definitions."""
    table = grid(profile, view, find(view.style), UNICODE)
    lines = [f"% {plain(profile.network)}: {', '.join(subject(profile))}", NEEDED]
    *rows, last = table.cells
    lines += tabular([column.right for column in table.columns], table.headings, rows, last)
    emit([*lines, *(f"% {sentence}" for sentence in sentences(profile, table.columns))], file)


def emit(lines: Sequence[str], file: TextIO) -> None:
    """Writes the lines; what the stream does not take becomes a question mark."""
    text = "\n".join(lines) + "\n"
    # A backslash would start a command, so such characters cannot be escaped as elsewhere.
    file.write(text if unicode(file) else text.encode("ascii", "replace").decode("ascii"))


def tabular(
    right: Sequence[bool], headings: Sequence[str], rows: Sequence[Sequence[str]], last: Sequence[str] | None = None
) -> list[str]:
    """The lines of a tabular: which columns are numbers, on the right, and a last row that is ruled off."""
    lines = [rf"\begin{{tabular}}{{{''.join('r' if number else 'l' for number in right)}}}", r"\toprule"]
    lines += [_line([_escaped(heading) for heading in headings]), r"\midrule"]
    body = [_line([_cell(number, cell) for number, cell in zip(right, cells, strict=True)]) for cells in rows]
    if last is not None:
        body += [r"\midrule", _line([_cell(number, cell) for number, cell in zip(right, last, strict=True)])]
    return [*lines, *body, r"\bottomrule", r"\end{tabular}"]


def _line(cells: list[str]) -> str:
    text = " & ".join(cells) + r" \\"
    return "{*}" + text[1:] if text.startswith("*") else text  # after \\ a star would be an option


def _cell(number: bool, cell: str) -> str:
    if number:
        return re.sub(r"(?<=\d)x(?=\d)", lambda found: r"$\times$", _escaped(cell).replace(r"\textgreater{}=", r"$\geq$"))
    start = 0
    indents = ""
    while found := _GUIDE.match(cell, start):
        indents += _GUIDES[found.group()]
        start = found.end()
    return indents + _escaped(cell[start:])


def _escaped(text: str) -> str:
    return text.translate(_SPECIAL)
