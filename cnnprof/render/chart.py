"""Charts of characters: a curve, and a bar of parts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from cnnprof.render.glyphs import Glyphs

_STEPS = " ▁▂▃▄▅▆▇█"
_ASCII_STEPS = " .:#"
_FILLS = "█▓▒░▚▞▤"
_ASCII_FILLS = "#=+-o*."


def curve(values: Sequence[int], width: int, height: int, glyphs: Glyphs) -> list[str]:
    """The lines of a chart, from the top: in each column the highest of its share of the values, over a base of 0."""
    if not values:
        return []
    width = min(width, len(values))
    edges = [len(values) * column // width for column in range(width + 1)]
    highest = [max(values[start:stop]) for start, stop in pairwise(edges)]
    steps = _ASCII_STEPS if glyphs.ascii else _STEPS
    top = max(highest) or 1
    full = len(steps) - 1
    levels = [max(1, -(-value * height * full // top)) if value else 0 for value in highest]
    return ["".join(steps[min(full, max(0, level - row * full))] for level in levels) for row in reversed(range(height))]


def stacked(parts: Sequence[int], width: int, glyphs: Glyphs) -> str:
    """A bar of that width in which each part has its share, in a fill of its own; what is more than nothing has a character."""
    fills = _ASCII_FILLS if glyphs.ascii else _FILLS
    whole = sum(parts) or 1
    lengths = [max(1, round(width * part / whole)) if part else 0 for part in parts]
    while sum(lengths) > width and max(lengths) > 1:
        lengths[lengths.index(max(lengths))] -= 1
    return "".join(fill * length for fill, length in zip(fills, lengths, strict=False))


def fill(place: int, glyphs: Glyphs) -> str:
    """The character in which `stacked` draws the part at that place."""
    return (_ASCII_FILLS if glyphs.ascii else _FILLS)[place]
