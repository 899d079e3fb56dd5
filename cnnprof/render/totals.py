"""The lines around a table: what was profiled above it, the totals with their definitions and the footnotes below."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cnnprof.profiling.profile import PRODUCTS, Layer, Profile
from cnnprof.render import quantities, text
from cnnprof.render.columns import Column
from cnnprof.render.conventions import definitions
from cnnprof.render.definitions import DEFINITIONS, LOWER_BOUND
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


def figures(profile: Profile) -> list[tuple[str, str]]:
    """Keys of metrics and their totals as text, in the order of the lines; without buffers no line about them."""
    cost = profile.cost
    found = [
        ("params", quantities.count(cost.params)),
        ("trainable_params", quantities.count(cost.trainable_params)),
        ("products", quantities.count(cost.products, cost.complete)),
        ("model_bytes", quantities.size(cost.model_bytes)),
        ("buffer_bytes", quantities.size(cost.buffer_bytes)),
        ("output_bytes", quantities.size(cost.output_bytes)),
    ]
    return [(key, value) for key, value in found if key != "buffer_bytes" or cost.buffer_bytes]


def totals(profile: Profile, terminal: Terminal) -> list[Line]:
    """One line per metric: its name, the total, its definition; the definitions wrap where the terminal is narrow."""
    found = figures(profile)
    meanings = definitions(profile.convention)
    labels = max(len(meanings[key].label) for key, _ in found)
    values = max(len(value) for _, value in found)
    start = labels + values + 4
    room = max(_NARROWEST_DEFINITION, min(terminal.width or WIDTH, WIDTH) - start)
    lines: list[Line] = []
    for key, value in found:
        first, *more = text.paragraph(meanings[key].short, room, "")
        number = f"{meanings[key].label:<{labels}}  {value:>{values}}  "
        lines.append([(number, ""), (first, "dim")])
        lines += [[(" " * start + rest, "dim")] for rest in more]
    return lines


def sentences(profile: Profile, columns: Sequence[Column] = ()) -> list[str]:
    """Of each metric the name, total and full definition, then the footnotes, for texts that wrap elsewhere.

    `columns` are those of the table.
    """
    meanings = definitions(profile.convention)
    said = [f"{meanings[key].label} {value}: {meanings[key].full}" for key, value in figures(profile)]
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
    found = []
    if not profile.complete:
        found.append(f">= {LOWER_BOUND} {', '.join(map(quantities.plain, profile.cost.unknown))}")
    of_note: dict[str, list[str]] = {}
    for layer in _every(profile.root):
        if layer.note:
            of_note.setdefault(layer.note, []).append(layer.path or layer.kind)
    for note, paths in of_note.items():
        more = f" and {len(paths) - NAMED:,} more" if len(paths) > NAMED else ""
        found.append(f"{quantities.plain(note)}: {', '.join(map(quantities.plain, paths[:NAMED]))}{more}")
    return found


def _every(root: Layer) -> Iterator[Layer]:
    waiting = [root]
    while waiting:
        layer = waiting.pop()
        yield layer
        waiting += reversed(layer.children)
