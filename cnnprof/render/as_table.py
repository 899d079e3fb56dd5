"""A table for people, on a terminal or in a text file."""

from __future__ import annotations

from typing import TextIO

from cnnprof.profiling.profile import Profile
from cnnprof.render.grid import grid
from cnnprof.render.style import find
from cnnprof.render.terminal import emit, terminal
from cnnprof.render.totals import title
from cnnprof.render.view import View


def write(profile: Profile, view: View, file: TextIO) -> None:
    """Writes the table of the view's style, as wide and as colourful as `file` allows."""
    style = find(view.style)
    surface = terminal(file)
    table = grid(profile, view, style, surface.glyphs)
    emit([title(profile, surface), *style.table(profile, table, surface)], file, surface.styled)
