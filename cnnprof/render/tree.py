"""The style of torchinfo: containers and their layers as a tree, named by class, depth and place at that depth.

Numbers of containers stand in parentheses, so that those without add up to the total.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cnnprof.profiling.profile import Profile
from cnnprof.render import columns, grid, quantities
from cnnprof.render.glyphs import Glyphs
from cnnprof.render.grid import Grid
from cnnprof.render.row import Row
from cnnprof.render.style import Style
from cnnprof.render.terminal import Line, Terminal
from cnnprof.render.totals import footnotes, totals


def _label(row: Row, glyphs: Glyphs) -> str:
    if row.layer is None:
        name = columns.caption(row)
    else:
        kind = quantities.plain(row.layer.kind) + (f" x{row.times}" if row.times > 1 else "")
        name = f"{kind}: {row.level}-{row.index}" if row.level and row.index else kind
    if not row.guides:
        return name
    *above, followed = row.guides
    lines = "".join(glyphs.through if more else glyphs.blank for more in above)
    return f"{lines}{glyphs.branch if followed else glyphs.last}{name}"


def _table(profile: Profile, table: Grid, terminal: Terminal) -> Iterator[Line]:
    table = table.hung()
    if terminal.width is not None and grid.across(grid.widths(table, None)) > terminal.width:
        narrow = replace(terminal.glyphs, through=terminal.glyphs.through[:2], blank=terminal.glyphs.blank[:2])
        table = table.relabelled(_label, narrow)
    widths = grid.widths(table, terminal.width)
    lines = grid.body(table, widths, terminal.glyphs)
    rule: Line = [(terminal.glyphs.rule * grid.across(widths), "dim")]
    yield from ([], grid.heading(table, widths, terminal.glyphs), rule, *lines[:-1], rule, lines[-1], [])
    yield from totals(profile, terminal)
    yield from footnotes(profile, terminal, table.columns)


STYLE = Style(
    columns=("layer", "output", "params", "products"),
    headings={
        "layer": "Layer (type:depth-idx)",
        "output": "Output Shape",
        "params": "Param #",
        "products": "# products",
    },
    label=_label,
    shapes=quantities.shapes,
    containers=True,
    folds=True,
    table=_table,
)
