"""A table as text cells, and its lines at a given width.

Numbers and sizes keep all their digits at any width: only the columns of names shrink, down to `NARROWEST`, and where
that is not enough the table is wider than the terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from cnnprof.profiling.profile import PRODUCTS, Profile
from cnnprof.render import text
from cnnprof.render.columns import Column, Notation, caption, chosen
from cnnprof.render.conventions import CONVENTIONS
from cnnprof.render.glyphs import Glyphs
from cnnprof.render.row import Role, Row
from cnnprof.render.style import Style
from cnnprof.render.terminal import Line, escaped
from cnnprof.render.view import View, rows

GAP = "  "
"""Between two columns."""
NARROWEST = 12
"""Characters that a shortened name keeps, its ellipsis included."""

_STYLES = {Role.LAYER: "", Role.CONTAINER: "dim", Role.OTHERS: "dim", Role.TOTAL: "bold"}
"""How a row is painted."""


@dataclass(frozen=True, slots=True)
class Grid:
    """The cells of a table, row by row."""

    columns: tuple[Column, ...]
    headings: tuple[str, ...]
    rows: tuple[Row, ...]
    cells: tuple[tuple[str, ...], ...]
    asked: bool
    """Whether the user chose the columns."""

    def total_left_out(self) -> Grid:
        """The same grid without its TOTAL row."""
        return replace(self, rows=self.rows[:-1], cells=self.cells[:-1])

    def hung(self) -> Grid:
        """The same grid with a space after the numbers without parentheses, so that digits stand below digits."""
        hanging = [
            column.right and any(cell.endswith(")") for cell in cells)
            for column, cells in zip(self.columns, zip(*self.cells, strict=True), strict=True)
        ]

        def hung(texts: Sequence[str]) -> tuple[str, ...]:
            return tuple(
                f"{cell} " if hangs and not cell.endswith(")") else cell for cell, hangs in zip(texts, hanging, strict=True)
            )

        return replace(self, headings=hung(self.headings), cells=tuple(map(hung, self.cells)))

    def relabelled(self, label: Callable[[Row, Glyphs], str], glyphs: Glyphs) -> Grid:
        """The same grid with other texts in its `layer` column, if it has one."""
        place = next((place for place, column in enumerate(self.columns) if column.key == "layer"), None)
        if place is None:
            return self
        labels = [label(row, glyphs) for row in self.rows]
        if glyphs.ascii:
            labels = list(map(escaped, labels))
        cells = [(*texts[:place], name, *texts[place + 1 :]) for name, texts in zip(labels, self.cells, strict=True)]
        return replace(self, cells=tuple(cells))


def grid(profile: Profile, view: View, style: Style, glyphs: Glyphs) -> Grid:
    """The cells of the view in that style."""
    columns = chosen(view.columns, style.columns, profile)
    notation = Notation(glyphs, view.formulas, style.label, style.shapes)
    selected = tuple(rows(profile, view, style.containers, style.folds))
    captioned = first_of_names(columns)
    cells = []
    for row in selected:
        texts = [column.text(row, notation) for column in columns]
        if row.layer is None and captioned is not None and not texts[captioned]:
            texts[captioned] = caption(row)
        cells.append(tuple(map(escaped, texts) if glyphs.ascii else texts))
    headings = tuple(_heading(profile, style, column) for column in columns)
    return Grid(columns, headings, selected, tuple(cells), bool(view.columns))


def _heading(profile: Profile, style: Style, column: Column) -> str:
    """The heading of a column, in the style's words; that of products in those of another convention, if there is one."""
    if column.key == PRODUCTS and profile.convention != PRODUCTS:
        return CONVENTIONS[profile.convention].heading
    return style.headings.get(column.key, column.heading)


def first_of_names(columns: Sequence[Column]) -> int | None:
    """The place of the first column of names, where a row that is no layer says what it is; None if there is none."""
    return next((place for place, column in enumerate(columns) if not column.right), None)


def widths(table: Grid, limit: int | None, least: Sequence[int] = ()) -> list[int]:
    """The width of each column: that of its widest cell, or less for names if `limit` asks for it.

    `least` are widths to fill up to where the limit has room for them.
    """
    lined_up = [list(column) for column in zip(table.headings, *table.cells, strict=True)]
    natural = [max(map(text.width, cells)) for cells in lined_up]
    wanted = [max(pair) for pair in zip(natural, least, strict=True)] if least else natural
    if limit is None or across(wanted) <= limit:
        return wanted
    while across(natural) > limit:
        shrinkable = [place for place, column in enumerate(table.columns) if column.elastic and natural[place] > NARROWEST]
        if not shrinkable:
            break
        natural[max(shrinkable, key=natural.__getitem__)] -= 1
    return natural


def across(columns: Sequence[int]) -> int:
    """The width of a table whose columns are that wide."""
    return sum(columns) + len(GAP) * (len(columns) - 1)


def heading(table: Grid, columns: Sequence[int], glyphs: Glyphs, right: bool = False) -> Line:
    """The line of the headings; `right` puts names to the right too."""
    return [(_joined(table, table.headings, columns, glyphs, right), "bold")]


def body(table: Grid, columns: Sequence[int], glyphs: Glyphs, right: bool = False) -> list[Line]:
    """The line of each row. Zeros are dim: what costs something stands out."""
    lines: list[Line] = []
    for row, cells in zip(table.rows, table.cells, strict=True):
        style = _STYLES[row.role]
        if style:
            lines.append([(_joined(table, cells, columns, glyphs, right), style)])
            continue
        line: Line = []
        for column, cell, width in zip(table.columns, cells, columns, strict=True):
            if line:
                line.append((GAP, ""))
            line.append((_fitted(column, cell, width, glyphs, right), "dim" if cell.strip() == "0" else ""))
        lines.append(line)
    return lines


def _joined(table: Grid, cells: Sequence[str], columns: Sequence[int], glyphs: Glyphs, right: bool) -> str:
    return GAP.join(
        _fitted(column, cell, width, glyphs, right) for column, cell, width in zip(table.columns, cells, columns, strict=True)
    )


def _fitted(column: Column, cell: str, width: int, glyphs: Glyphs, right: bool) -> str:
    if column.elastic:
        cell = text.shortened(cell, width, glyphs.ellipsis, column.keeps_end)
    return text.padded(cell, width, column.right or right)
