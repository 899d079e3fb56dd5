"""Comma-separated values: raw integers, one row per layer, TOTAL last."""

from __future__ import annotations

import csv
import io
from typing import TextIO

from cnnprof.profiling.profile import PRODUCTS, Profile
from cnnprof.render import quantities
from cnnprof.render.columns import Value, caption, chosen
from cnnprof.render.grid import first_of_names
from cnnprof.render.terminal import encodable
from cnnprof.render.view import View, rows

_COLUMNS = (
    "path",
    "kind",
    "arguments",
    "depth",
    "input",
    "output",
    "params",
    "trainable_params",
    "products",
    "output_bytes",
    "buffer_bytes",
    "complete",
)


def write(profile: Profile, view: View, file: TextIO) -> None:
    """Writes a line of machine names, a line per row of the view and the line of TOTAL; shapes as `64x55x55`."""
    columns = chosen(view.columns, _COLUMNS, profile)
    captioned = first_of_names(columns)
    buffer = io.StringIO()
    lines = csv.writer(buffer, lineterminator="\n")
    # There is no other place to say whose count it is.
    lines.writerow([profile.convention if column.key == PRODUCTS else column.machine_name for column in columns])
    for row in rows(profile, view):
        cells = [_cell(column.value(row)) for column in columns]
        if row.layer is None and captioned is not None:
            cells[captioned] = caption(row)
        lines.writerow(cells)
    file.write(encodable(buffer.getvalue(), file))


def _cell(value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return quantities.shapes(value) if value else ""
    return quantities.plain(str(value))
