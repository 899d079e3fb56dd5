"""What tells one style of table from another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from cnnprof.errors import UsageError, did_you_mean
from cnnprof.profiling.profile import Profile, Shape
from cnnprof.render.glyphs import Glyphs
from cnnprof.render.row import Row

if TYPE_CHECKING:
    from cnnprof.render.grid import Grid
    from cnnprof.render.terminal import Line, Terminal


STYLES: Mapping[str, str] = {
    "products": "cnnprof.render.products",
    "torchsummary": "cnnprof.render.torchsummary",
    "tree": "cnnprof.render.tree",
}
"""Where the `STYLE` of each name is."""


@dataclass(frozen=True, slots=True)
class Style:
    """A style: which columns, how they are called, how cells are written, what stands around the rows."""

    columns: tuple[str, ...]
    headings: Mapping[str, str]
    """Headings by the key of the column, where they are not the column's own."""
    label: Callable[[Row, Glyphs], str]
    shapes: Callable[[tuple[Shape, ...]], str]
    containers: bool
    """Whether containers have rows of their own."""
    folds: bool
    """Whether equal containers in a row are one row."""
    table: Callable[[Profile, Grid, Terminal], Iterable[Line]]
    """The lines of the table for a terminal, from the headings to the totals."""


def find(name: str) -> Style:
    """The style of that name; UsageError where there is none."""
    if name not in STYLES:
        hint = did_you_mean(name, list(STYLES)) or f"there are: {', '.join(STYLES)}"
        raise UsageError(f'there is no style "{name}"; {hint}')
    style: Style = import_module(STYLES[name]).STYLE
    return style
