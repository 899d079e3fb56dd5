"""The page of `cnnprof memory`: the peak and its parts, the layers that cost most, and the live bytes over the pass."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import TextIO

from cnnprof.profiling.profile import Layer
from cnnprof.profiling.timeline import Kept, Point, Timeline
from cnnprof.render import chart, columns, quantities, text
from cnnprof.render.definitions import DEFINITIONS
from cnnprof.render.terminal import Line, Terminal, emit, terminal
from cnnprof.render.totals import WIDTH, parts, place, title

_MOST = 10
"""Layers that are shown."""
_HEIGHT = 8
"""Lines of the chart."""
_NARROWEST = 40
_MEANING = (
    "live activations: what the forward pass and the loss made and the backward pass still needs; temporary: the rest, gradients "
    "of activations and intermediate results of the optimizer among it"
)


def write(timeline: Timeline, file: TextIO, format: str, explained: Mapping[str, Sequence[Kept]] | None = None) -> None:
    """Writes the timeline in one of `FORMATS`; a table of what the layers in `explained` keep, where it is given."""
    if format == "table":
        surface = terminal(file)
        lines = _page(timeline, surface) if explained is None else _explanation(timeline, explained, surface)
        emit(lines, file, surface.styled)
    elif explained is not None:
        kept = {path: [asdict(one) for one in found] for path, found in explained.items()}
        data = {"schema_version": 1, "network": timeline.profile.network, "kept": kept}
        file.write(json.dumps(data, indent=2) + "\n")
    else:
        FORMATS[format](timeline, file)


def _page(timeline: Timeline, surface: Terminal) -> Iterator[Line]:
    profile = timeline.profile
    yield title(profile, surface)
    yield []
    yield from _split(timeline, surface)
    yield []
    yield from _costly(timeline, surface)
    yield []
    yield from _chart(timeline, surface)
    for reason in (*profile.caveats, *(profile.training.deviations if profile.training else ())):
        yield from ([(line, "yellow")] for line in text.paragraph(quantities.plain(reason), _width(surface)))


def _width(surface: Terminal) -> int:
    return max(_NARROWEST, min(surface.width or WIDTH, 120))


def _split(timeline: Timeline, surface: Terminal) -> Iterator[Line]:
    """The peak, and its parts as a bar."""
    training = timeline.profile.training
    key = "training_peak_bytes" if training else "inference_peak_bytes"
    definition = DEFINITIONS[key]
    conditions = f"{training.optimizer}, {training.loss} loss, " if training else ""
    yield [(f"{definition.label}  {quantities.size(timeline.peak.bytes)}", "bold")]
    yield from ([(line, "")] for line in text.paragraph(f"{conditions}{place(timeline.peak)}", _width(surface), ""))
    yield from ([(line, "dim")] for line in text.paragraph(definition.full, _width(surface)))
    held = parts(timeline.at_peak, training is not None)
    yield [(chart.stacked([size for _, size in held], _width(surface), surface.glyphs), "cyan")]
    names = max((len(name) for name, _ in held), default=0)
    sizes = max((len(quantities.size(size)) for _, size in held), default=0)
    for number, (name, size) in enumerate(held):
        share = 100 * size / (timeline.peak.bytes or 1)
        line = f"{chart.fill(number, surface.glyphs)} {name:<{names}}  {quantities.size(size):>{sizes}}  {share:5.1f} %"
        yield [(line, "")]
    if training:
        yield from ([(line, "dim")] for line in text.paragraph(_MEANING, _width(surface)))
    else:
        yield [(f"beside it: parameters and buffers, {quantities.size(timeline.profile.model_bytes)}", "dim")]


def _costly(timeline: Timeline, surface: Terminal) -> Iterator[Line]:
    """The layers that cost most."""
    training = timeline.profile.training is not None
    key = "retained_bytes" if training else "output_bytes"
    definition = DEFINITIONS[key]
    total = getattr(timeline.profile.cost, key)
    rows = sorted(timeline.profile.layers, key=lambda layer: -getattr(layer.cost, key))[:_MOST]
    shown = [layer for layer in rows if getattr(layer.cost, key)]
    most = "layer" if len(shown) == 1 else f"{len(shown)} layers"
    yield [(f"{definition.label}  {quantities.size(total)}", "bold"), (f"  in all; the {most} with most:", "")]
    yield from ([(line, "dim")] for line in text.paragraph(definition.full, _width(surface)))
    sizes = [f"{getattr(layer.cost, key):,}" for layer in shown]
    widest = max(map(len, sizes), default=0)
    room = _width(surface) - widest - 12
    for layer, size in zip(shown, sizes, strict=True):
        share = 100 * getattr(layer.cost, key) / (total or 1)
        label = text.shortened(_label(layer), room, surface.glyphs.ellipsis)
        yield [(f"{size:>{widest}} B  {share:4.1f} %  {label}", "")]


def _label(layer: Layer) -> str:
    path = quantities.plain(layer.path)
    return f"{path}: {columns.call(layer)}" if path else columns.call(layer)


def _chart(timeline: Timeline, surface: Terminal) -> Iterator[Line]:
    """The live bytes after each event, from left to right."""
    live = [point.live for point in timeline.points]
    if not live:
        return
    top = quantities.size(max(live)).partition(" (")[0]
    room = _width(surface) - len(top) - 2
    lines = chart.curve(live, room, _HEIGHT, surface.glyphs)
    yield [("live bytes", "bold"), (f"  over {len(live):,} allocations and frees, from left to right", "")]
    for number, line in enumerate(lines):
        label = top if number == 0 else "0 B" if number == len(lines) - 1 else ""
        yield [(f"{label:>{len(top)}}  ", ""), (line, "cyan")]
    yield [(f"{'':>{len(top)}}  {_phases(timeline.points, len(lines[0]), surface)}", "dim")]


def _phases(points: Sequence[Point], width: int, surface: Terminal) -> str:
    """Where each phase begins, as a line below the chart; a name that has no room is left out."""
    line, count = "", 0
    mark = "|" if surface.glyphs.ascii else "╵"
    for name, group in groupby(points, key=lambda point: point.phase):
        start, stop = width * count // len(points), width * (count + len(list(group))) // len(points)
        count += round((stop - start) * len(points) / width) if width else 0
        count = max(count, 1)
        room = stop - start
        line += (mark + name if len(name) < room else mark if room else "").ljust(room)
    return line


def _explanation(timeline: Timeline, explained: Mapping[str, Sequence[Kept]], surface: Terminal) -> Iterator[Line]:
    """What layers keep for the backward pass, tensor by tensor."""
    yield title(timeline.profile, surface)
    if not any(explained.values()):
        yield []
        yield [(f"{', '.join(explained) or 'this'}: of what it allocates nothing lives when the backward pass begins", "")]
    for path, kept in explained.items():
        total = sum(one.bytes for one in kept)
        yield []
        yield [(f"{quantities.plain(path) or 'the network'}", "bold"), (f"  retained for training: {total:,} B", "")]
        for one in kept:
            yield [(f"  {one.bytes:,} B, made by {quantities.plain(one.maker)}", "")]
            reasons = one.needs or ("nobody's backward: a variable holds it",)
            yield from ([(f"    for {quantities.plain(reason)}", "dim")] for reason in reasons)


def to_dict(timeline: Timeline) -> dict[str, object]:
    """The timeline as what `json.dumps` takes: raw integers, every event."""
    profile = timeline.profile
    key = "training_peak_bytes" if profile.training else "inference_peak_bytes"
    return {
        "schema_version": 1,
        "network": profile.network,
        "input": [list(shape) for shape in profile.input_shapes],
        "batch": profile.batch,
        "dtype": profile.dtype,
        "optimizer": profile.training.optimizer if profile.training else None,
        "definitions": {key: DEFINITIONS[key].full},
        key: timeline.peak.bytes,
        "peak": asdict(timeline.peak),
        "at_peak": asdict(timeline.at_peak),
        "kept": {path: [asdict(one) for one in kept] for path, kept in timeline.kept.items()},
        "caveats": [*profile.caveats, *(profile.training.deviations if profile.training else ())],
        "events": [asdict(point) for point in timeline.points],
    }


def _write_json(timeline: Timeline, file: TextIO) -> None:
    data = to_dict(timeline)
    events = data.pop("events")
    assert isinstance(events, list)
    head = json.dumps(data, indent=2).removesuffix("\n}")
    lines = ",\n".join(f"    {json.dumps(event)}" for event in events)
    file.write(f'{head},\n  "events": [\n{lines}\n  ]\n}}\n')


def _write_csv(timeline: Timeline, file: TextIO) -> None:
    lines = csv.writer(file, lineterminator="\n")
    lines.writerow(["event", "phase", "operator", "path", "kind", "change", "live"])
    for number, point in enumerate(timeline.points):
        lines.writerow([number, *asdict(point).values()])


FORMATS: Mapping[str, Callable[[Timeline, TextIO], None]] = {"json": _write_json, "csv": _write_csv}
"""Those for machines, with every event."""
