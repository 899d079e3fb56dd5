"""The arithmetic behind the counts of a layer, as a textbook writes it: `32·(1·5²+1)`.

A formula is the empty text where there is nothing to show: a plain number, a sum too long to read, or arithmetic that
does not give the count (an equation that is false is never printed).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from math import prod

from cnnprof.profiling.profile import Layer, Shape, Term
from cnnprof.render.glyphs import Glyphs

LONGEST_SUM = 6
"""Summands of a formula: more than one can read."""


def params(layer: Layer, glyphs: Glyphs) -> str:
    """The sum over the layer's parameters, a weight and its bias together: `200·(256+1)`, `2·64` for BatchNorm."""
    if sum(map(prod, layer.param_shapes)) != layer.cost.params:
        return ""
    parts = Counter(_with_biases(layer.param_shapes))
    return _sum([_repeated(times, _weight(*part, glyphs), glyphs) for part, times in parts.items()])


def products(layer: Layer, glyphs: Glyphs) -> str:
    """The sum of the layer's product terms: `32·24²·1·5²`."""
    if sum(map(prod, layer.product_terms)) != layer.cost.products:
        return ""
    terms = Counter(layer.product_terms)  # in the order in which they first occur: a recurrent layer has some in each step
    return _sum([_repeated(times, _term(term, glyphs), glyphs) for term, times in terms.items()])


def _with_biases(shapes: Sequence[Shape]) -> list[tuple[Shape, bool]]:
    """The shapes of the weights in order, and whether a bias of one value per row of the weight follows."""
    parts: list[tuple[Shape, bool]] = []
    for sizes in shapes:
        if parts and len(sizes) == 1:
            weight, has_bias = parts[-1]
            if len(weight) > 1 and not has_bias and weight[0] == sizes[0]:
                parts[-1] = (weight, True)
                continue
        parts.append((sizes, False))
    return parts


def _weight(sizes: Shape, has_bias: bool, glyphs: Glyphs) -> str:
    """`32·1·5²`, with a bias `32·(1·5²+1)`: one row per output channel."""
    row = _product(sizes[1:2], sizes[2:], glyphs=glyphs)
    if has_bias:
        return f"{sizes[0]}{glyphs.times}({row}+1)"
    return _product(sizes[:2], sizes[2:], glyphs=glyphs)


def _term(term: Term, glyphs: Glyphs) -> str:
    """`32·24²·1·5²`: channels and sizes of the output, then of the kernel; an odd first factor is the batch."""
    start = len(term) % 2
    middle = start + len(term) // 2
    return _product(term[: start + 1], term[start + 1 : middle], term[middle : middle + 1], term[middle + 1 :], glyphs=glyphs)


def _product(*groups: Sequence[int], glyphs: Glyphs) -> str:
    """The factors of all groups; in every second group, of spatial sizes, equal neighbours become a power.

    Only there: in 64·(3·3²+1), the channels are no part of the kernel's area. The product of nothing is 1.
    """
    factors: list[str] = []
    for place, group in enumerate(groups):
        if place % 2 == 0:
            factors += map(str, group)
            continue
        for size, same in groupby(group):
            times = len(list(same))
            factors.append(str(size) if times == 1 else glyphs.power(str(size), times))
    return glyphs.times.join(factors) or "1"


def _repeated(times: int, summand: str, glyphs: Glyphs) -> str:
    return summand if times == 1 else f"{times}{glyphs.times}{summand}"


def _sum(summands: Sequence[str]) -> str:
    if len(summands) > LONGEST_SUM or (len(summands) == 1 and summands[0].isdecimal()):
        return ""
    return " + ".join(summands)
