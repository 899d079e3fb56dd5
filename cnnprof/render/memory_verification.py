"""Predicted memory beside measured memory, as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import TextIO

from cnnprof.render import quantities, text
from cnnprof.render.definitions import DEFINITIONS
from cnnprof.render.terminal import Line, Terminal, emit, terminal
from cnnprof.render.totals import WIDTH, title
from cnnprof.verify_memory import Measurement, MemoryVerification, Verdict

_LABELS = max(len(DEFINITIONS[key].label) for key in ("live_bytes", "saved_bytes", "inference_peak_bytes", "training_peak_bytes"))
_STYLES = {Verdict.DIFFERS: "bold red"}
_MEANINGS = {
    Verdict.WORKSPACE: "workspace: more than predicted, since kernels allocate memory for themselves while they run, of which no "
    "operator tells; only less than predicted would be an error",
    Verdict.EXPLAINED: "explained: another figure, for these reasons",
    Verdict.DIFFERS: "DIFFERS: nothing that is known explains it",
}


def as_table(found: MemoryVerification, file: TextIO) -> None:
    """Writes the verification for people."""
    surface = terminal(file)
    emit(_lines(found, surface), file, surface.styled)


def _lines(found: MemoryVerification, surface: Terminal) -> Iterator[Line]:
    training = found.profile.training
    yield title(found.profile, surface)
    if training:
        yield [(f"training: {training.optimizer}, {training.loss} loss, an iteration that is not the first", "")]
    rows = [("predicted", "measured", "difference", "of measured", "verdict"), *map(_cells, found.measurements)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    source = ""
    for one in found.measurements:
        if one.source != source:
            source = one.source
            yield []
            yield [(source, "bold")]
            yield [(_joined(("", *rows[0]), widths), "dim")]
        yield [(_joined((DEFINITIONS[one.quantity].label, *_cells(one)), widths), _STYLES.get(one.verdict, ""))]
    if found.profile.untrained:
        yield []
        yield from _paragraph(f"no training: {found.profile.untrained}", surface)
    yield []
    for key in dict.fromkeys(one.quantity for one in found.measurements):
        yield from _paragraph(f"{DEFINITIONS[key].label}: {DEFINITIONS[key].full}", surface)
    for verdict in dict.fromkeys(one.verdict for one in found.measurements):
        if verdict in _MEANINGS:
            yield from _paragraph(_MEANINGS[verdict], surface)
        if verdict is Verdict.EXPLAINED:
            for reason in (*found.profile.caveats, *(training.deviations if training else ())):
                yield from _paragraph(reason, surface)


def _cells(one: Measurement) -> tuple[str, ...]:
    return (
        f"{one.predicted:,}",
        f"{one.measured:,}",
        f"{one.measured - one.predicted:+,}" if one.predicted != one.measured else "0",
        f"{one.share:+.2f} %",
        one.verdict.value,
    )


def _joined(cells: tuple[str, ...], widths: list[int]) -> str:
    name, *numbers, verdict = cells
    label = f"  {name:<{_LABELS}}"
    return "  ".join([label, *(f"{cell:>{width}}" for cell, width in zip(numbers, widths, strict=False)), verdict])


def _paragraph(sentence: str, surface: Terminal) -> Iterator[Line]:
    yield from ([(line, "dim")] for line in text.paragraph(quantities.plain(sentence), min(surface.width or WIDTH, WIDTH)))


def as_json(found: MemoryVerification, file: TextIO) -> None:
    """Writes the verification as a JSON object: raw integers."""
    profile = found.profile
    data = {
        "schema_version": 1,
        "network": profile.network,
        "input": [list(shape) for shape in profile.input_shapes],
        "batch": profile.batch,
        "dtype": profile.dtype,
        "optimizer": profile.training.optimizer if profile.training else None,
        "passed": found.passed,
        "untrained": found.profile.untrained,
        "deviations": list(profile.training.deviations) if profile.training else [],
        "measurements": [
            {
                "quantity": one.quantity,
                "source": one.source,
                "predicted": one.predicted,
                "measured": one.measured,
                "verdict": one.verdict.value.lower(),
            }
            for one in found.measurements
        ],
    }
    file.write(json.dumps(data, indent=2) + "\n")


FORMATS: Mapping[str, Callable[[MemoryVerification, TextIO], None]] = {"table": as_table, "json": as_json}
