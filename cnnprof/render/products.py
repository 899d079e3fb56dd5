"""The style of the lectures: a row per layer with its output size, parameters and products."""

from __future__ import annotations

from collections.abc import Iterator

from cnnprof.profiling.profile import PRODUCTS, Profile
from cnnprof.render import columns, grid, quantities
from cnnprof.render.glyphs import Glyphs
from cnnprof.render.grid import GAP, Grid
from cnnprof.render.row import Row
from cnnprof.render.style import Style
from cnnprof.render.terminal import Line, Terminal
from cnnprof.render.totals import footnotes, totals

_SHORTEST_BAR = 10
_LONGEST_BAR = 20
_HEADING = "share of products"
_SHORT_HEADING = "share"


def _label(row: Row, glyphs: Glyphs) -> str:
    return columns.title(row.layer, row.times) if row.layer else columns.caption(row)


def _table(profile: Profile, table: Grid, terminal: Terminal) -> Iterator[Line]:
    glyphs = terminal.glyphs
    widths = grid.widths(table, terminal.width)
    across = grid.across(widths)
    heading = grid.heading(table, widths, glyphs)
    lines = grid.body(table, widths, glyphs)
    if room := _room_for_bars(profile, table, terminal, across):
        across += len(GAP) + room
        says_all = profile.convention == PRODUCTS and len(_HEADING) <= room
        heading.append((GAP + (_HEADING if says_all else _SHORT_HEADING), "bold"))
        for row, line in zip(table.rows, lines, strict=True):
            if row.adds:
                bar = glyphs.bar(row.cost.products / profile.products, room)
                line.append((GAP + bar, "cyan"))
    rule: Line = [(glyphs.rule * across, "dim")]
    yield from ([], heading, rule, *lines[:-1], rule, lines[-1], [])
    yield from totals(profile, terminal)
    yield from footnotes(profile, terminal, table.columns)


def _room_for_bars(profile: Profile, table: Grid, terminal: Terminal, across: int) -> int:
    """The width of the bars, whose full length is all products; 0 where they are not drawn."""
    room = (terminal.width or 0) - across - len(GAP)
    drawn = room >= _SHORTEST_BAR and profile.products and any(column.key == "products" for column in table.columns)
    return min(room, _LONGEST_BAR) if drawn else 0


STYLE = Style(
    columns=("layer", "output", "params", "products"),
    headings={},
    label=_label,
    shapes=quantities.shapes,
    containers=False,
    folds=True,
    table=_table,
)
