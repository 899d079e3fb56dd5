"""A verification as text and as JSON: the sources one below the other, then what explains each difference and what does not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TextIO

from cnnprof.render import quantities, text
from cnnprof.render.definitions import DEFINITIONS
from cnnprof.render.terminal import Line, Terminal, emit, escaped, terminal
from cnnprof.render.totals import WIDTH
from cnnprof.verification import Difference, Opinion, Reason, Verdict, Verification

SCHEMA_VERSION = 1
NAMED = 10
"""Layers that the text names of those that differ, for each source."""

_STYLES = {Verdict.AGREES: "green", Verdict.EXPLAINED: "green", Verdict.DIFFERS: "bold red", Verdict.NONE: "dim"}


def as_json(found: Verification, file: TextIO) -> None:
    """Writes the verification as a JSON object."""
    json.dump(to_dict(found), file, indent=2)
    file.write("\n")


def to_dict(found: Verification) -> dict[str, Any]:
    """The verification as what `json.dumps` takes. Keys may be added; none is removed or renamed without a new schema version."""
    inputs = [list(sizes) for sizes in found.input_shapes]
    return {
        "schema_version": SCHEMA_VERSION,
        "network": found.network,
        "input": inputs[0] if len(inputs) == 1 else inputs,
        "batch": found.batch,
        "dtype": found.dtype,
        "definitions": {key: DEFINITIONS[key].full for key in ("params", "products")},
        "params": found.params,
        "products": found.products,
        "complete": found.complete,
        "passed": found.passed,
        "opinions": [
            {
                "source": opinion.source,
                "verdict": opinion.verdict.value.lower(),
                "params": opinion.params,
                "products": opinion.products,
                "shapes": opinion.shapes,
                "reasons": [{"amount": reason.amount, "text": reason.text} for reason in opinion.reasons],
                "differences": [
                    {"path": one.path, "metric": one.metric, "ours": one.ours, "theirs": one.theirs} for one in opinion.differences
                ],
                "note": opinion.note,
            }
            for opinion in found.opinions
        ],
    }


def as_table(found: Verification, file: TextIO) -> None:
    """Writes the verification for people, in 80 columns."""
    surface = terminal(file)
    lines = [_escaped(line) for line in _lines(found, surface)] if surface.glyphs.ascii else list(_lines(found, surface))
    emit(lines, file, surface.styled)


def _escaped(line: Line) -> Line:
    return [(escaped(piece), style) for piece, style in line]


def _lines(found: Verification, surface: Terminal) -> Iterator[Line]:
    conditions = f"  input {quantities.shapes(found.input_shapes)}  batch {found.batch:,}  {found.dtype}"
    yield [(quantities.plain(found.network), "bold"), (conditions, "")]
    yield []
    rows = [("source", "parameters", "products", "verdict", "bold")]
    rows.append(("cnnprof", f"{found.params:,}", quantities.count(found.products, found.complete), "", ""))
    rows += [
        (one.source, _number(one.params), _number(one.products), _verdict(one), _STYLES[one.verdict]) for one in found.opinions
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for number, (source, params, products, verdict, style) in enumerate(rows):
        figures = f"{source:<{widths[0]}}  {params:>{widths[1]}}  {products:>{widths[2]}}  "
        yield [(figures, style if number == 0 else ""), (verdict, style)]
        if number == 0:
            yield [(surface.glyphs.rule * (sum(widths) + 6 + max(len(row[3]) for row in rows)), "dim")]
    room = min(surface.width or WIDTH, WIDTH)
    yield []
    yield [(f"products: {DEFINITIONS['products'].short}", "dim")]
    for one in found.opinions:
        yield from _remarks(one)
    for note in dict.fromkeys(one.note for one in found.opinions if one.note):
        sources = ", ".join(one.source for one in found.opinions if one.note == note)
        yield []
        yield from ([(line, "")] for line in text.paragraph(f"{sources}: {quantities.plain(note)}", room))
    yield []
    yield [(_conclusion(found), "green" if found.passed else "bold red")]


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _verdict(opinion: Opinion) -> str:
    if opinion.verdict is Verdict.AGREES:
        if opinion.shapes is not None:
            return f"{opinion.shapes:,} output shape{'' if opinion.shapes == 1 else 's'} agree{'s' if opinion.shapes == 1 else ''}"
        if opinion.products is None:
            return "parameters agree"
    return opinion.verdict.value


def _remarks(opinion: Opinion) -> Iterator[Line]:
    """What is to be said below the table of one source."""
    more = [reason for reason in opinion.reasons if reason.amount > 0]
    less = [reason for reason in opinion.reasons if reason.amount < 0]
    for reasons, what in ((more, "also counts"), (less, "does not count")):
        if reasons:
            yield from _reasons(f"{opinion.source} {what}", reasons)
    if opinion.differences:
        yield from _differences(opinion)


def _reasons(opening: str, reasons: Sequence[Reason]) -> Iterator[Line]:
    yield []
    yield [(f"{opening} {abs(sum(reason.amount for reason in reasons)):,}:", "")]
    width = max(len(f"{abs(reason.amount):,}") for reason in reasons)
    yield from ([(f"  {abs(reason.amount):>{width},}  {reason.text}", "")] for reason in reasons)


_METRICS = {"params": "parameters", "products": "products", "output_shape": "output size"}


def _differences(opinion: Opinion) -> Iterator[Line]:
    yield []
    yield [(f"{opinion.source} differs, and there is no known reason:", "bold red")]
    for one in opinion.differences[:NAMED]:
        yield [(f"  {_place(one)}: {_contrast(one)}", "red")]
    if len(opinion.differences) > NAMED:
        yield [(f"  and {len(opinion.differences) - NAMED:,} more: --format json has all", "red")]


def _contrast(one: Difference) -> str:
    theirs = quantities.plain(one.theirs)
    return f"{_METRICS[one.metric]} {one.ours} here, {theirs} there" if one.metric in _METRICS else f"it cannot run, {theirs}"


def _place(one: Difference) -> str:
    return quantities.plain(one.path) or "the network"


def _conclusion(found: Verification) -> str:
    differing = [opinion.source for opinion in found.opinions if opinion.verdict is Verdict.DIFFERS]
    if differing:
        return f"not explained: {', '.join(differing)}"
    if any(opinion.verdict is Verdict.EXPLAINED for opinion in found.opinions):
        return "every difference is explained"
    if any(opinion.verdict is Verdict.NONE for opinion in found.opinions):
        return "every source that has an opinion agrees"
    return "all agree"


FORMATS: Mapping[str, Callable[[Verification, TextIO], None]] = {"table": as_table, "json": as_json}
"""What a verification can be written as."""
