"""The columns that a table can have: one entry each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from cnnprof.errors import UsageError, did_you_mean
from cnnprof.profiling.profile import Cost, FieldSize, FieldStride, Layer, Profile, Shape, elements
from cnnprof.render import formulas, quantities
from cnnprof.render.glyphs import Glyphs
from cnnprof.render.row import Role, Row

RETAINED = "retained_bytes"

Value: TypeAlias = "int | str | bool | tuple[Shape, ...] | None"
"""What a column holds in a row: a number, a text, shapes; None where the row has none, as TOTAL has no output size."""


def call(layer: Layer) -> str:
    """The layer as one writes it: `Conv2d(1, 32, kernel_size=5)`, `ReLU`."""
    kind, arguments = quantities.plain(layer.kind), quantities.plain(layer.arguments)
    return f"{kind}({arguments})" if arguments else kind


def title(layer: Layer, times: int = 1) -> str:
    """The call; for a container the path too, `stage1.0: bottleneck(64)`, since its name says more than its class.

    Equal ones in a row are `stage1.1 x2: bottleneck(64)`.
    """
    if not layer.children or not layer.path:
        return call(layer)
    return f"{quantities.plain(layer.path)}{f' x{times}' if times > 1 else ''}: {call(layer)}"


def caption(row: Row) -> str:
    """What a row that is no layer is called: `(37 others)`, `TOTAL`."""
    if row.role is Role.TOTAL:
        return "TOTAL"
    return f"({row.number:,} {'other' if row.number == 1 else 'others'})"


@dataclass(frozen=True, slots=True)
class Notation:
    """How a table writes its cells."""

    glyphs: Glyphs
    formulas: bool
    """Whether the arithmetic stands before the numbers."""
    label: Callable[[Row, Glyphs], str]
    """The text of the `layer` column, for every row."""
    shapes: Callable[[tuple[Shape, ...]], str]


@dataclass(frozen=True, slots=True)
class Column:
    """A column: what it is called, what it holds and how that is written."""

    key: str
    """Its name in `--columns` and `--sort`."""
    heading: str
    value: Callable[[Row], Value]
    """The raw value, for machine formats and for sorting."""
    text: Callable[[Row, Notation], str]
    weight: Callable[[Row], float | None] | None = None
    """What rows are sorted by, the largest first, where the value does not say it."""
    field: str = ""
    """Its name in machine formats, which `--columns` takes too; the key where nothing else is said."""
    right: bool = True
    """Whether the text is aligned to the right, as numbers are."""
    elastic: bool = False
    """Whether the text may be shortened where the terminal is narrow: names may, numbers and sizes never."""
    keeps_end: bool = False
    """Whether the end of a shortened text is what remains: that of a path says more than its beginning."""

    @property
    def machine_name(self) -> str:
        return self.field or self.key


def find(key: str) -> Column:
    """The column of that key or machine name; UsageError where there is none."""
    column = COLUMNS.get(key.strip()) or _BY_FIELD.get(key.strip())
    if column is None:
        hint = did_you_mean(key, list(COLUMNS)) or f"there are: {', '.join(COLUMNS)}"
        raise UsageError(f'there is no column "{quantities.plain(key)}"; {hint}')
    return column


def of_training(keys: Iterable[str]) -> list[str]:
    """Those of the keys whose figures only a profile with retained bytes has."""
    return [key for key in keys if find(key).key == RETAINED]


def chosen(asked: Sequence[str], usual: Sequence[str], profile: Profile) -> tuple[Column, ...]:
    """The columns of a table: those asked for, else the usual ones, and the retained bytes where the profile has them."""
    return tuple(find(key) for key in asked or (*usual, *((RETAINED,) if profile.retained else ())))


def rank(column: Column, row: Row) -> tuple[bool, float, str]:
    """The sorting key of a row: numbers and sizes descending, texts by the alphabet, what has no value last."""
    if column.weight is not None:
        weight = column.weight(row)
        return (weight is None, -(weight or 0), "")
    value = column.value(row)
    if value is None:
        return (True, 0, "")
    if isinstance(value, str):
        return (False, 0, value.lower())
    return (False, -(value if isinstance(value, int) else sum(map(elements, value))), "")


def _text(key: str, heading: str, of: Callable[[Layer], str], *, elastic: bool = False, keeps_end: bool = False) -> Column:
    def value(row: Row) -> Value:
        return of(row.layer) if row.layer else None

    def text(row: Row, notation: Notation) -> str:
        return quantities.plain(of(row.layer)) if row.layer else ""

    return Column(key, heading, value, text, right=False, elastic=elastic, keeps_end=keeps_end)


def _label() -> Column:
    def value(row: Row) -> Value:
        return title(row.layer, row.times) if row.layer else None

    def text(row: Row, notation: Notation) -> str:
        return notation.label(row, notation.glyphs)

    return Column("layer", "layer", value, text, right=False, elastic=True)


def _shapes(key: str, heading: str, field: str, of: Callable[[Layer], tuple[Shape, ...]]) -> Column:
    def value(row: Row) -> Value:
        return of(row.layer) if row.layer else None

    def text(row: Row, notation: Notation) -> str:
        return notation.shapes(of(row.layer)) if row.layer else ""

    return Column(key, heading, value, text, field=field)


def _axes(key: str, heading: str, field: str, of: Callable[[Layer], FieldSize | FieldStride]) -> Column:
    """A column with a value for each axis of the input. A row of equal containers shows that of the last."""

    def found(row: Row) -> FieldSize | FieldStride:
        return of(row.last or row.layer) if row.layer else None

    def value(row: Row) -> Value:
        axes = found(row)
        return quantities.per_axis(axes) if axes else None

    def text(row: Row, notation: Notation) -> str:
        return quantities.axes(found(row)) if row.layer else ""

    def weight(row: Row) -> float | None:
        known = [math.inf if size == "all" else float(size) for size in found(row) or () if size is not None]
        return max(known) if known else None

    return Column(key, heading, value, text, weight, field)


def _number(
    key: str,
    heading: str,
    of: Callable[[Cost], int],
    formula: Callable[[Layer, Glyphs], str] | None = None,
    exact: Callable[[Cost], bool] = lambda cost: True,
) -> Column:
    """A column of a cost. A container's number stands in parentheses: its layers' numbers are in the sum already."""

    def value(row: Row) -> Value:
        return of(row.cost)

    def text(row: Row, notation: Notation) -> str:
        complete = exact(row.cost)
        number = quantities.count(of(row.cost), complete)
        if row.role is Role.CONTAINER:
            return f"({number})" if row.level else ""  # the network's own is the TOTAL
        arithmetic = formula(row.layer, notation.glyphs) if formula and notation.formulas and row.layer else ""
        if not arithmetic:
            return number
        return f"{'' if complete else '>= '}{arithmetic} = {quantities.count(of(row.cost))}"

    return Column(key, heading, value, text)


def _depth() -> Column:
    def value(row: Row) -> Value:
        return row.layer.depth if row.layer else None

    return Column("depth", "depth", value, lambda row, notation: str(row.layer.depth) if row.layer else "")


def _complete() -> Column:
    return Column(
        "complete",
        "complete",
        lambda row: row.cost.complete,
        lambda row, notation: "yes" if row.cost.complete else "no",
    )


COLUMNS: Mapping[str, Column] = {
    column.key: column
    for column in (
        _label(),
        _text("path", "path", lambda layer: layer.path, elastic=True, keeps_end=True),
        _text("kind", "kind", lambda layer: layer.kind),
        _text("arguments", "arguments", lambda layer: layer.arguments, elastic=True),
        _depth(),
        _shapes("input", "input size", "input_shape", lambda layer: layer.input_shapes),
        _shapes("output", "output size", "output_shape", lambda layer: layer.output_shapes),
        _axes("field", "field", "receptive_field", lambda layer: layer.receptive_field),
        _axes("stride", "stride", "stride", lambda layer: layer.stride),
        _number("params", "# parameters", lambda cost: cost.params, formulas.params),
        _number("trainable_params", "# trainable", lambda cost: cost.trainable_params),
        _number("products", "# products", lambda cost: cost.products, formulas.products, exact=lambda cost: cost.complete),
        _number("output_bytes", "output bytes", lambda cost: cost.output_bytes),
        _number("retained_bytes", "retained bytes", lambda cost: cost.retained_bytes),
        _number("param_bytes", "parameter bytes", lambda cost: cost.param_bytes),
        _number("buffer_bytes", "buffer bytes", lambda cost: cost.buffer_bytes),
        _number("model_bytes", "model bytes", lambda cost: cost.model_bytes),
        _complete(),
        _text("note", "note", lambda layer: layer.note),
    )
}
"""Every column by its key, in the order in which `--help` names them."""

_BY_FIELD = {column.machine_name: column for column in COLUMNS.values()}
