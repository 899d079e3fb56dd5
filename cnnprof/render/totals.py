"""The lines around a table: what was profiled above it, the totals with their definitions and the footnotes below."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import NamedTuple

from cnnprof.profiling.memory import Peak, Split, Training
from cnnprof.profiling.profile import PRODUCTS, Layer, Profile
from cnnprof.render import quantities, text
from cnnprof.render.columns import Column
from cnnprof.render.conventions import definitions
from cnnprof.render.definitions import DEFINITIONS, LOWER_BOUND, Definition
from cnnprof.render.terminal import Line, Terminal, escaped

WIDTH = 80
"""Where nothing limits the width, text is set this wide."""
NAMED = 3
"""Layers that a footnote names before it says how many more there are."""

_NARROWEST_DEFINITION = 20
_WITHOUT_TOTAL = ("receptive_field", "stride")


def title(profile: Profile, terminal: Terminal) -> Line:
    """What was profiled: `lenet  input 1x28x28  batch 1  float32`. The name is shortened if it has to be."""
    name, conditions = quantities.plain(profile.network), "  ".join(subject(profile))
    if terminal.glyphs.ascii:
        name = escaped(name)
    room = max(12, (terminal.width or WIDTH) - len(conditions) - 2)
    return [(text.shortened(name, room, terminal.glyphs.ellipsis), "bold"), (f"  {conditions}", "")]


def subject(profile: Profile) -> list[str]:
    """For what the network was profiled: its input, the batch size, the type of the numbers; whose convention, if not ours."""
    inputs = quantities.shapes(profile.input_shapes)
    conditions = [f"input {inputs}", f"batch {profile.batch:,}", quantities.plain(profile.dtype)]
    return conditions if profile.convention == PRODUCTS else [*conditions, f"convention {profile.convention}"]


class Figure(NamedTuple):
    """A line of the totals."""

    label: str
    value: str
    definition: Definition | None = None
    """None for a part of the figure above."""
    where: str = ""
    """The conditions of the figure, or where in the network it stands."""


def figures(profile: Profile) -> list[Figure]:
    """The totals as text, in the order of the lines; without buffers no line about them."""
    cost, meanings = profile.cost, definitions(profile.convention)
    found = [
        _figure(meanings["params"], quantities.count(cost.params)),
        _figure(meanings["trainable_params"], quantities.count(cost.trainable_params)),
        _figure(meanings["products"], quantities.count(cost.products, cost.complete)),
        _figure(meanings["model_bytes"], quantities.size(cost.model_bytes)),
    ]
    if cost.buffer_bytes:
        found.append(_figure(meanings["buffer_bytes"], quantities.size(cost.buffer_bytes)))
    found.append(_figure(meanings["output_bytes"], quantities.size(cost.output_bytes)))
    if profile.inference_peak is not None:
        peak = profile.inference_peak
        found.append(_figure(meanings["inference_peak_bytes"], quantities.size(peak.bytes), place(peak)))
    if profile.retained:
        found.append(_figure(meanings["retained_bytes"], quantities.size(cost.retained_bytes)))
    if profile.training is not None:
        found += _of_training(profile.training, meanings)
    return found


def _of_training(training: Training, meanings: Mapping[str, Definition]) -> Iterator[Figure]:
    yield _figure(meanings["saved_bytes"], quantities.size(training.saved_bytes))
    conditions = f"{training.optimizer}, {training.loss} loss; {place(training.peak)}"
    yield _figure(meanings["training_peak_bytes"], quantities.size(training.peak_bytes), conditions)
    for part, held in parts(training.at_peak, True):
        yield Figure(f"  {part}", quantities.size(held))


_PARTS = {"input": "input, target", "optimizer_state": "optimizer state", "activations": "live activations"}


def parts(split: Split, training: bool) -> list[tuple[str, int]]:
    """What a split holds, by name; what is nothing is left out."""
    names = _PARTS if training else {}
    held = [(names.get(field.name, field.name), getattr(split, field.name)) for field in fields(split)]
    return [(name, size) for name, size in held if size]


def place(peak: Peak) -> str:
    """Where a peak stands: `at features.4, in threshold_backward of backward`, `in div of step`."""
    if not peak.operator:
        return "before any operator"
    phase = f" of {peak.phase}" if peak.phase not in ("", "forward") else ""
    at = f"at {quantities.plain(peak.path)}, " if peak.path else ""
    return f"{at}in {quantities.plain(peak.operator)}{phase}"


def _figure(definition: Definition, value: str, where: str = "") -> Figure:
    return Figure(definition.label, value, definition, where)


def totals(profile: Profile, terminal: Terminal) -> list[Line]:
    """One line per metric: its name, the total, its definition; the definitions wrap where the terminal is narrow."""
    found = figures(profile)
    labels = max(len(figure.label) for figure in found)
    values = max(len(figure.value) for figure in found)
    start = labels + values + 4
    room = max(_NARROWEST_DEFINITION, min(terminal.width or WIDTH, WIDTH) - start)
    lines: list[Line] = []
    for label, value, definition, where in found:
        said = [definition.short] if definition else []
        first, *more = text.paragraph("; ".join([*said, *([where] if where else [])]), room, "") or [""]
        lines.append([(f"{label:<{labels}}  {value:>{values}}  ", ""), (first, "dim")])
        lines += [[(" " * start + rest, "dim")] for rest in more]
    return lines


def sentences(profile: Profile, columns: Sequence[Column] = ()) -> list[str]:
    """Of each metric the name, total and full definition, then the footnotes, for texts that wrap elsewhere.

    `columns` are those of the table.
    """
    said: list[str] = []
    for label, value, definition, where in figures(profile):
        if definition is None:
            said[-1] += f"; {label.strip()} {value}"
        else:
            said.append(f"{label} {value}{f' ({where})' if where else ''}: {definition.full}")
    return said + _legend(columns) + remarks(profile)


def footnotes(profile: Profile, terminal: Terminal, columns: Sequence[Column] = ()) -> list[Line]:
    """What the reader has to know beside the numbers: what columns without a total mean, unknown operators, the notes of layers."""
    limit = min(terminal.width or WIDTH, WIDTH)
    found = [(remark, "dim") for remark in _legend(columns)] + [(remark, "yellow") for remark in remarks(profile)]
    return [[(line, style)] for remark, style in found for line in text.paragraph(remark, limit)]


def _legend(columns: Sequence[Column]) -> list[str]:
    """The definition of each column of a metric that has no total."""
    found = [DEFINITIONS[column.machine_name] for column in columns if column.machine_name in _WITHOUT_TOTAL]
    return [f"{definition.label}: {definition.full}" for definition in found]


def remarks(profile: Profile) -> list[str]:
    """The footnotes, each as one line."""
    found = [*profile.caveats, *(profile.training.deviations if profile.training else ())]
    if profile.untrained:
        found.append(f"retained for training is not known: {quantities.plain(profile.untrained)}")
    if not profile.complete:
        found.append(f">= {LOWER_BOUND} {', '.join(map(quantities.plain, profile.cost.unknown))}")
    of_note: dict[str, list[str]] = {}
    for layer in _every(profile.root):
        if layer.note:
            of_note.setdefault(layer.note, []).append(layer.path or layer.kind)
    for note, paths in of_note.items():
        more = f" and {len(paths) - NAMED:,} more" if len(paths) > NAMED else ""
        found.append(f"{quantities.plain(_NOTES.get(note, note))}: {', '.join(map(quantities.plain, paths[:NAMED]))}{more}")
    return found


_NOTES = {"recursive": "recursive, which is called again, its parameters counted at the first call"}
"""What the reader may have to be told of a note."""


def _every(root: Layer) -> Iterator[Layer]:
    waiting = [root]
    while waiting:
        layer = waiting.pop()
        yield layer
        waiting += reversed(layer.children)
