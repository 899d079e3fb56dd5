"""The table of the bundled networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from cnnprof.render import text
from cnnprof.render.terminal import Line, emit, terminal
from cnnprof.spec.library import Entry

_NARROWEST = 9
_HEADINGS = ("network", "# parameters", "# products", "input", "reference")


def write_listing(entries: Sequence[Entry], file: TextIO) -> None:
    """Writes a row per network: name, parameters, products, input, authors and year."""
    rows = [(e.name, f"{e.params:,}", f"{e.products:,}", e.input, e.reference) for e in entries]
    widths = [max(map(text.width, column)) for column in zip(_HEADINGS, *rows, strict=True)]
    surface = terminal(file)
    if surface.width and (over := sum(widths) + 8 - surface.width) > 0:
        widths[-1] = max(_NARROWEST, widths[-1] - over)  # names may be shortened, numbers not
        rows = [(*row[:-1], text.shortened(row[-1], widths[-1], surface.glyphs.ellipsis)) for row in rows]
    lines: list[Line] = [[(_line(_HEADINGS, widths), "bold")], [(surface.glyphs.rule * (sum(widths) + 8), "dim")]]
    emit(lines + [[(_line(row, widths), "")] for row in rows], file, surface.styled)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(text.padded(cell, width, 0 < place < 3) for place, (cell, width) in enumerate(zip(cells, widths, strict=True)))
