"""A comparison as text: one column per network."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TextIO

from cnnprof.compare import METRICS, Aligned, Change, Comparison, Total
from cnnprof.errors import UsageError, did_you_mean
from cnnprof.profiling.profile import FieldSize
from cnnprof.render import as_latex, quantities, text
from cnnprof.render.as_markdown import escaped
from cnnprof.render.terminal import Line, Terminal, emit, encodable, terminal

_GAP = "  "
_NARROWEST = 21


def write(comparison: Comparison, file: TextIO, format: str = "table", metric: str = "products", every: bool = False) -> None:
    """Writes the comparison in that format. By kind or layer the cells are of one metric; `every` shows equal layers too.

    Raises UsageError for a format or a metric that there is not.
    """
    if format not in _FORMATS:
        hint = did_you_mean(format, list(_FORMATS)) or f"there are: {', '.join(_FORMATS)}"
        raise UsageError(f'a comparison has no format "{format}"; {hint}')
    layered = [key for key, value in METRICS.items() if value.of_cost]
    if metric not in layered:
        hint = did_you_mean(metric, layered) or f"there are: {', '.join(layered)}"
        raise UsageError(f'layers have no metric "{metric}"; {hint}')
    _FORMATS[format](comparison, file, metric, every)


def ratio(value: int, first: int) -> str:
    """`2.03 x`, `1,074 x less`: how often the smaller goes into the larger, to three digits or more."""
    if value == first:
        return "1 x"
    if not value or not first:
        return "-"
    quotient = max(value, first) / min(value, first)
    digits = max(0, 2 - len(str(int(quotient))) + 1)
    return f"{quotient:,.{digits}f} x{' less' if value < first else ''}"


def change(value: int, first: int) -> str:
    """`+12.5 %`; `=` where nothing changed, `from 0` where there is no share."""
    if value == first:
        return "="
    return f"{100 * (value - first) / first:+,.1f} %" if first else "from 0"


def _amount(value: int | FieldSize, in_bytes: bool) -> str:
    if not isinstance(value, int):
        return quantities.axes(value)
    return quantities.size(value) if in_bytes else f"{value:,}"


def _totals(comparison: Comparison) -> list[list[str]]:
    """A row per metric: its name, the value of each network with its ratio to the first, the winner marked. First the inputs,
    where they differ."""
    rows = [[total.metric.label, *_cells(total)] for total in comparison.totals]
    return rows if _common_input(comparison) else [["input", *_inputs(comparison)], *rows]


def _cells(total: Total) -> list[str]:
    cells = []
    for place, value in enumerate(total.values):
        cell, first = _amount(value, total.metric.in_bytes), total.values[0]
        if place and isinstance(value, int) and isinstance(first, int):
            cell += f"  {ratio(value, first)}"
        cells.append(f"* {cell}" if total.winner == place else cell)
    return cells


def _layers(comparison: Comparison, metric: str, every: bool) -> list[list[str]]:
    of = METRICS[metric].of_cost
    assert of is not None  # `write` refuses the others
    rows = []
    for row in comparison.rows:
        if every or row.change is not Change.SAME:
            values = [of(cost) if name is not None else None for name, cost in zip(row.names, row.costs, strict=True)]
            cells = ["" if value is None else f"{value:,}" for value in values]
            rows.append([_label(row, comparison.by), *cells, _verdict(row, values)])
    return rows


def _label(row: Aligned, by: str) -> str:
    return quantities.plain(row.path if by == "kind" else f"{row.path}: {row.name}")


def _verdict(row: Aligned, values: Sequence[int | None]) -> str:
    if row.change is Change.SAME:
        return "[ = ]"
    if row.change in (Change.NEW, Change.GONE):
        return f"[{row.change.value}]"
    first, last = values[0], values[-1]
    assert first is not None  # it is neither new nor gone
    assert last is not None
    return change(last, first) if last != first else "[~]"


def _headings(comparison: Comparison) -> list[str]:
    """The names of the networks; of the same network on other inputs, or counted once more, with what tells them apart."""
    names = [quantities.plain(profile.network) for profile in comparison.profiles]
    with_inputs = [f"{name}@{quantities.shapes(p.input_shapes)}" for name, p in zip(names, comparison.profiles, strict=True)]
    names = [long if names.count(name) > with_inputs.count(long) else name for name, long in zip(names, with_inputs, strict=True)]
    return [f"{name} ({names[: i + 1].count(name)})" if names.count(name) > 1 else name for i, name in enumerate(names)]


def _equal(comparison: Comparison) -> int:
    return sum(row.change is Change.SAME for row in comparison.rows)


def _write_table(comparison: Comparison, file: TextIO, metric: str, every: bool) -> None:
    surface = terminal(file)
    lines: list[Line] = _grid(["", *_headings(comparison)], _totals(comparison), surface)
    if common := _common_input(comparison):
        lines = [[(common, "")], [], *lines]
    if comparison.remark:
        lines += [[], [(comparison.remark, "yellow")]]
    if comparison.rows:
        rows = _layers(comparison, metric, every)
        if rows:
            lines += [[], *_grid([f"{METRICS[metric].label} by {comparison.by}", *_headings(comparison), "change"], rows, surface)]
        lines += [[(sentence, "dim")] for sentence in _legend(comparison, rows, every)]
    lines += [[], [(_MARKS, "dim")]]
    lines += [[(note, "yellow")] for note in _notes(comparison)]
    emit(lines, file, surface.styled)


_MARKS = "* the smallest; ratios are to the first"


def _inputs(comparison: Comparison) -> list[str]:
    return [f"{quantities.shapes(p.input_shapes)}, batch {p.batch:,}, {p.dtype}" for p in comparison.profiles]


def _common_input(comparison: Comparison) -> str:
    """What all networks were given, as a sentence; empty where it differs, and is a row."""
    inputs = _inputs(comparison)
    return f"input {inputs[0]}" if len(set(inputs)) == 1 else ""


def _legend(comparison: Comparison, rows: Sequence[Sequence[str]], every: bool) -> Iterator[str]:
    """What a reader of the second table has to know."""
    if not rows:
        yield f"all {len(comparison.rows):,} rows are equal: --all shows them"
    elif not every:
        yield f"{_equal(comparison):,} of {len(comparison.rows):,} rows are equal: --all shows them"
    if any(row[-1] == "[~]" for row in rows):
        yield f"[~]: the {'kind' if comparison.by == 'kind' else 'layer'} differs, this figure does not"
    if rows and len(comparison.profiles) > 2:
        yield "change: from the first network to the last"


def _grid(headings: Sequence[str], rows: Sequence[Sequence[str]], surface: Terminal) -> list[Line]:
    """The rows with their headings; where that is too wide, the first columns, and under them the others."""
    widths = [max(map(text.width, column)) for column in zip(headings, *rows, strict=True)]
    if surface.width and (over := _across(widths) - surface.width) > 0:
        widths[0] = max(min(_NARROWEST, widths[0]), widths[0] - over)
        fitting = next((n for n in range(len(widths), 2, -1) if _across(widths[:n]) <= surface.width), 2)
        if fitting < len(widths):
            parts = [[[row[0], *row[start:stop]] for row in (headings, *rows)] for start, stop in ((1, fitting), (fitting, None))]
            return [*_grid(parts[0][0], parts[0][1:], surface), [], *_grid(parts[1][0], parts[1][1:], surface)]
    across = _across(widths)
    lines: list[Line] = [[(_joined(headings, widths, surface), "bold")], [(surface.glyphs.rule * across, "dim")]]
    return lines + [[(_joined(row, widths, surface), "")] for row in rows]


def _across(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _joined(cells: Sequence[str], widths: Sequence[int], surface: Terminal) -> str:
    first = text.padded(text.shortened(cells[0], widths[0], surface.glyphs.ellipsis), widths[0], False)
    rest = [text.padded(cell, width, True) for cell, width in zip(cells[1:], widths[1:], strict=True)]
    return _GAP.join([first, *rest])


def _notes(comparison: Comparison) -> list[str]:
    """Why a figure is not known."""
    reasons = {p.network: p.untrained or "a saved profile without --training" for p in comparison.profiles if not p.retained}
    unknown = "retained for training is not known"
    return [f"{quantities.plain(name)}: {unknown}: {quantities.plain(why)}" for name, why in reasons.items()]


def _write_markdown(comparison: Comparison, file: TextIO, metric: str, every: bool) -> None:
    headings = [f"**{escaped(name)}**" for name in _headings(comparison)]
    parts = [f"{escaped(common)}\n"] if (common := _common_input(comparison)) else []
    parts.append(_markdown(["", *headings], _totals(comparison)))
    notes = [_MARKS, *filter(None, [comparison.remark])]
    if comparison.rows:
        rows = _layers(comparison, metric, every)
        if rows:
            parts.append(_markdown([f"{METRICS[metric].label} by {comparison.by}", *headings, "change"], rows))
        notes += _legend(comparison, rows, every)
    parts.append("".join(f"- {escaped(note)}\n" for note in [*notes, *_notes(comparison)]))
    file.write(encodable("\n".join(parts), file))


def _markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(headings)} |", f"|---|{'---:|' * (len(headings) - 1)}"]
    lines += [f"| {' | '.join([escaped(row[0]), *(escaped(cell) for cell in row[1:])])} |" for row in rows]
    return "\n".join(lines) + "\n"


def _write_latex(comparison: Comparison, file: TextIO, metric: str, every: bool) -> None:
    names = _headings(comparison)
    lines = as_latex.tabular([False, *[True] * len(names)], ["", *names], _totals(comparison))
    notes = [*filter(None, [_common_input(comparison)]), _MARKS, *filter(None, [comparison.remark])]
    if comparison.rows:
        rows = _layers(comparison, metric, every)
        if rows:
            headings = [f"{METRICS[metric].label} by {comparison.by}", *names, "change"]
            lines += ["", *as_latex.tabular([False, *[True] * (len(names) + 1)], headings, rows)]
        notes += _legend(comparison, rows, every)
    as_latex.emit([as_latex.NEEDED, *lines, *(f"% {note}" for note in [*notes, *_notes(comparison)])], file)


def to_dict(comparison: Comparison) -> dict[str, Any]:
    """The comparison as what `json.dumps` takes: raw integers, every row."""
    return {
        "schema_version": 1,
        "by": comparison.by,
        "remark": comparison.remark,
        "networks": [
            {"network": p.network, "input": [list(s) for s in p.input_shapes], "batch": p.batch, "dtype": p.dtype}
            for p in comparison.profiles
        ],
        "totals": {total.key: [_raw(value) for value in total.values] for total in comparison.totals},
        "rows": [
            {
                "path": row.path,
                "names": list(row.names),
                "change": row.change.value,
                **{key: [m.of_cost(cost) for cost in row.costs] for key, m in METRICS.items() if m.of_cost},
            }
            for row in comparison.rows
        ],
    }


def _raw(value: int | FieldSize) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _write_json(comparison: Comparison, file: TextIO, metric: str, every: bool) -> None:
    file.write(json.dumps(to_dict(comparison), indent=2) + "\n")


def _write_csv(comparison: Comparison, file: TextIO, metric: str, every: bool) -> None:
    lines = csv.writer(file, lineterminator="\n")
    layered = comparison.by != "total"
    lines.writerow(["metric", *["path", "layer"] * layered, *_headings(comparison), *["change"] * layered])
    for total in comparison.totals:
        values = ["" if v is None else v if isinstance(v, int) else quantities.axes(v) for v in total.values]
        lines.writerow([total.key, *["", ""] * layered, *values, *[""] * layered])
    of = METRICS[metric].of_cost
    assert of is not None  # `write` refuses the others
    for row in comparison.rows:
        cells = ["" if name is None else of(cost) for name, cost in zip(row.names, row.costs, strict=True)]
        layer = "" if comparison.by == "kind" else quantities.plain(row.name)
        lines.writerow([metric, quantities.plain(row.path), layer, *cells, row.change.value])


_FORMATS: Mapping[str, Callable[[Comparison, TextIO, str, bool], None]] = {
    "table": _write_table,
    "markdown": _write_markdown,
    "latex": _write_latex,
    "json": _write_json,
    "csv": _write_csv,
}
