"""The lines around a table: what was profiled above it, the totals with their definitions and the footnotes below."""

from __future__ import annotations

from collections.abc import Iterator

from cnnprof.profiling.profile import Layer, Profile
from cnnprof.render import quantities, text
from cnnprof.render.definitions import DEFINITIONS, LOWER_BOUND
from cnnprof.render.terminal import Line, Terminal, escaped

WIDTH = 80
"""Where nothing limits the width, text is set this wide."""
NAMED = 3
"""Layers that a footnote names before it says how many more there are."""

_NARROWEST_DEFINITION = 20


def title(profile: Profile, terminal: Terminal) -> Line:
    """What was profiled: `lenet  input 1x28x28  batch 1  float32`. The name is shortened if it has to be."""
    name, conditions = quantities.plain(profile.network), "  ".join(subject(profile))
    if terminal.glyphs.ascii:
        name = escaped(name)
    room = max(12, (terminal.width or WIDTH) - len(conditions) - 2)
    return [(text.shortened(name, room, terminal.glyphs.ellipsis), "bold"), (f"  {conditions}", "")]


def subject(profile: Profile) -> list[str]:
    """For what the network was profiled: its input, the batch size, the type of the numbers."""
    inputs = quantities.shapes(profile.input_shapes)
    return [f"input {inputs}", f"batch {profile.batch:,}", quantities.plain(profile.dtype)]


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
    labels = max(len(DEFINITIONS[key].label) for key, _ in found)
    values = max(len(value) for _, value in found)
    start = labels + values + 4
    room = max(_NARROWEST_DEFINITION, min(terminal.width or WIDTH, WIDTH) - start)
    lines: list[Line] = []
    for key, value in found:
        first, *more = text.paragraph(DEFINITIONS[key].short, room, "")
        number = f"{DEFINITIONS[key].label:<{labels}}  {value:>{values}}  "
        lines.append([(number, ""), (first, "dim")])
        lines += [[(" " * start + rest, "dim")] for rest in more]
    return lines


def sentences(profile: Profile) -> list[str]:
    """Of each metric the name, total and full definition, then the footnotes, for texts that wrap elsewhere."""
    said = [f"{DEFINITIONS[key].label} {value}: {DEFINITIONS[key].full}" for key, value in figures(profile)]
    return said + remarks(profile)


def footnotes(profile: Profile, terminal: Terminal) -> list[Line]:
    """What the reader has to know beside the numbers: unknown operators, and the notes of layers."""
    limit = min(terminal.width or WIDTH, WIDTH)
    return [[(line, "yellow")] for remark in remarks(profile) for line in text.paragraph(remark, limit)]


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
