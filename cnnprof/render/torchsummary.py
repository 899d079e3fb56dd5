"""The style of torchsummary: `Conv2d-1  [-1, 6, 28, 28]  156` between dashed rules, and its block of totals.

torchsummary's sizes in "MB" are 2^20 bytes, and its "forward/backward pass size" and "estimated total size" are guesses
that double the outputs. Here stand the sizes that cnnprof defines, under their own names and with their unit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cnnprof.profiling.profile import Profile, Shape
from cnnprof.render import columns, grid, quantities, text
from cnnprof.render.conventions import definitions
from cnnprof.render.glyphs import Glyphs
from cnnprof.render.grid import Grid
from cnnprof.render.row import Row
from cnnprof.render.style import Style
from cnnprof.render.terminal import Line, Terminal
from cnnprof.render.totals import WIDTH, figures, footnotes

_RULE = 64
_PLAIN = ("trainable", "buffers")
"""Figures whose names say it all."""
_LEAST = {"layer": 20, "output": 25, "params": 14}
"""torchsummary's own widths, by the key of the column."""


def _label(row: Row, glyphs: Glyphs) -> str:
    if row.layer is None:
        return columns.caption(row)
    kind = quantities.plain(row.layer.kind)
    return f"{kind}-{row.place}" if row.place else kind


def _shapes(several: Sequence[Shape]) -> str:
    """`[-1, 6, 28, 28]`, a list of them for several tensors; -1 is the batch."""
    each = [f"[{', '.join(map(str, (-1, *sizes)))}]" for sizes in several]
    if not each:
        return quantities.NO_SHAPE
    return each[0] if len(each) == 1 else f"[{', '.join(each)}]"


def _table(profile: Profile, table: Grid, terminal: Terminal) -> Iterator[Line]:
    # In torchsummary's own columns the lines below are the total; any others need a row of it.
    shown = table if table.asked else table.total_left_out()
    least = [_LEAST.get(column.key, 0) for column in shown.columns]
    widths = grid.widths(table, terminal.width, least)
    across = max(grid.across(widths), min(_RULE, terminal.width or _RULE))
    dashes: Line = [("-" * across, "")]
    double: Line = [("=" * across, "")]
    lines = grid.body(shown, widths, terminal.glyphs, right=True)
    yield dashes
    yield grid.heading(shown, widths, terminal.glyphs, right=True)
    yield double
    yield from lines[:-1] if table.asked else lines
    if table.asked:
        yield from (dashes, lines[-1])
    yield double
    yield from ([(line, "")] for line in _params_and_products(profile))
    yield dashes
    yield from ([(line, "")] for line in _sizes(profile))
    yield dashes
    for label, _, definition, where in figures(profile):
        if definition is None or label in _PLAIN:
            continue
        meaning = f"{label}: {definition.short}{f'; {where}' if where else ''}"
        yield from ([(line, "dim")] for line in text.paragraph(meaning, min(terminal.width or WIDTH, WIDTH)))
    yield from footnotes(profile, terminal, table.columns)


def _params_and_products(profile: Profile) -> Iterator[str]:
    yield f"Total params: {profile.params:,}"
    yield f"Trainable params: {profile.trainable_params:,}"
    yield f"Non-trainable params: {profile.params - profile.trainable_params:,}"
    yield f"Total {definitions(profile.convention)['products'].label}: {quantities.count(profile.products, profile.complete)}"


def _sizes(profile: Profile) -> Iterator[str]:
    yield f"Activations (MiB): {quantities.mebibytes(profile.output_bytes)}"
    yield f"Params size (MiB): {quantities.mebibytes(profile.cost.param_bytes)}"
    if profile.cost.buffer_bytes:
        yield f"Buffers size (MiB): {quantities.mebibytes(profile.cost.buffer_bytes)}"
    yield f"Model size (MiB): {quantities.mebibytes(profile.model_bytes)}"
    if profile.inference_peak is not None:
        yield f"Inference peak (MiB): {quantities.mebibytes(profile.inference_peak.bytes)}"
    if profile.retained:
        yield f"Retained for training (MiB): {quantities.mebibytes(profile.cost.retained_bytes)}"
    if profile.training is not None:
        yield f"Saved for backward (MiB): {quantities.mebibytes(profile.training.saved_bytes)}"
        yield f"Training peak (MiB): {quantities.mebibytes(profile.training.peak_bytes)}"


STYLE = Style(
    columns=("layer", "output", "params"),
    headings={"layer": "Layer (type)", "output": "Output Shape", "params": "Param #", "products": "# products"},
    label=_label,
    shapes=_shapes,
    containers=False,
    folds=False,
    table=_table,
)
