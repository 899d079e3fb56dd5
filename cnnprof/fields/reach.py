"""Which input positions a position of a tensor can depend on, along one axis of the input, and how operators change that.

A layer with a kernel and a stride maps position `o` to an interval of input positions. With strides of more than 1, transposed
convolutions and resizing the interval repeats with a period: `o = q * period + r` depends on `q * advance + lo[r]` to
`q * advance + hi[r]`. Borders are left out, as in every published receptive field: the intervals go on where the image ends.

All numbers are integers, but for the infinities of `ALL` and `NOTHING`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple


class Reach(NamedTuple):
    """The input positions that each position depends on, from the first to the last."""

    period: int
    advance: int
    """Input positions that one period of outputs is apart; 0 where the interval is the same for every position."""
    lo: tuple[float, ...]
    """The first input position, for each place in the period."""
    hi: tuple[float, ...]
    """The last one."""
    cut: bool = False
    """Whether positions have been sliced away, so that all positions together are no longer the whole axis."""


PIXELS = Reach(1, 1, (0,), (0,))
"""Of the input itself: each position is one pixel."""
ALL = Reach(1, 0, (-math.inf,), (math.inf,))
"""Of what depends on the whole axis."""
NOTHING = Reach(1, 0, (math.inf,), (-math.inf,))
"""Of a constant."""
UNKNOWN = Reach(0, 0, (), ())
"""Of what no rule is known for. It may be `cut` too."""

LONGEST_PERIOD = 4096
"""Beyond it the reach is unknown. Resizing 1,000 pixels to 999 has a period of 999."""


def size(reach: Reach) -> float | None:
    """How many input positions an output depends on, first to last: `math.inf` for the whole axis, None if unknown."""
    if not reach.period:
        return None
    return max(0, *(last - first + 1 for first, last in zip(reach.lo, reach.hi, strict=True)))


def stride(reach: Reach) -> int | Fraction | None:
    """How many input positions neighbouring outputs are apart; None where that has no meaning or is unknown."""
    if not reach.advance:
        return None
    return Fraction(reach.advance, reach.period) if reach.advance % reach.period else reach.advance // reach.period


def interval(reach: Reach, position: int) -> tuple[float, float]:
    """The first and the last input position that `position` depends on."""
    cycle, place = divmod(position, reach.period)
    shift = cycle * reach.advance
    return shift + reach.lo[place], shift + reach.hi[place]


def pinned(reach: Reach, position: int = 0) -> Reach:
    """The reach of that one position by itself, with no neighbours."""
    if not reach.advance:
        return reach
    first, last = interval(reach, position)
    return Reach(1, 0, (first,), (last,), reach.cut)


def forgotten(reach: Reach) -> Reach:
    """The reach where the positions have been put in an order that nobody knows."""
    return UNKNOWN._replace(cut=reach.cut) if reach.advance else reach


def curtailed(reach: Reach) -> Reach:
    """The reach where some of the positions are gone."""
    return reach._replace(cut=True) if varies(reach) else reach


def varies(reach: Reach) -> bool:
    """Whether it is another one for each position, or may be."""
    return bool(reach.advance) or not reach.period


def either(reaches: Iterable[Reach]) -> Reach:
    """What is known of a position that has one of these."""
    several = set(reaches)
    return several.pop() if len(several) == 1 else UNKNOWN._replace(cut=any(reach.cut for reach in several))


def composed(reach: Reach, outputs: int, inputs: int, taps: Callable[[int], Iterable[int]]) -> Reach:
    """The reach of an operator's outputs, of which position `o` reads the positions `taps(o)` of what has `reach`.

    The taps repeat: those of `o + outputs` are those of `o` plus `inputs`.
    """
    if not reach.advance:
        return reach
    cycles = reach.period // math.gcd(reach.period, inputs)
    period = outputs * cycles
    if period > LONGEST_PERIOD:
        return forgotten(reach)
    found = [[interval(reach, tap) for tap in taps(place)] for place in range(period)]
    lo = tuple([min((first for first, _ in read), default=math.inf) for read in found])
    hi = tuple([max((last for _, last in read), default=-math.inf) for read in found])
    return _shortest(Reach(period, reach.advance * inputs * cycles // reach.period, lo, hi, reach.cut))


def _shortest(reach: Reach) -> Reach:
    """The same reach with the smallest period that says it."""
    period, advance, lo, hi, cut = reach
    for shorter in range(1, period // 2 + 1):
        if period % shorter or advance * shorter % period:
            continue
        step = advance * shorter // period
        if all(bound[i] + step == bound[i + shorter] for bound in (lo, hi) for i in range(period - shorter)):
            return Reach(shorter, step, lo[:shorter], hi[:shorter], cut)
    return reach


def window(reach: Reach, kernel: int, stride: int, padding: int, dilation: int) -> Reach:
    """Of a convolution or a pool. A negative padding is a crop, a kernel of 1 a slice."""
    period, advance, lo, hi, cut = reach
    if not advance:
        return reach
    if period == 1:  # nearly always: the rest of this is to be fast here
        shift = advance * padding
        return Reach(1, advance * stride, (lo[0] - shift,), (hi[0] - shift + advance * dilation * (kernel - 1),), cut)
    # A later tap of the same place in the period reaches further right and not further left.
    early, late = range(min(kernel, period)), range(max(0, kernel - period), kernel)

    def taps(position: int) -> Iterable[int]:
        start = position * stride - padding
        return [start + tap * dilation for tap in (*early, *late)]

    return composed(reach, 1, stride, taps)


def transposed(reach: Reach, kernel: int, stride: int, padding: int, dilation: int) -> Reach:
    """Of a transposed convolution; a position that no kernel element meets depends on nothing."""

    def taps(position: int) -> Iterable[int]:
        starts = (position + padding - tap * dilation for tap in range(kernel))
        return [start // stride for start in starts if start % stride == 0]

    return composed(reach, stride, 1, taps)


def adaptive(reach: Reach, given: int, wanted: int) -> Reach:
    """Of a pool from `given` positions to `wanted`; one to a single position is global instead."""

    def taps(position: int) -> Iterable[int]:
        return range(position * given // wanted, -(-(position + 1) * given // wanted))

    common = math.gcd(given, wanted)
    return composed(reach, wanted // common, given // common, taps)


def repeated(reach: Reach, times: int) -> Reach:
    """Of every position standing that many times in a row."""
    return composed(reach, times, 1, lambda position: (position // times,))


def nearest(reach: Reach, ratio: Fraction, exact: bool) -> Reach:
    """Of resizing by `ratio` input positions per output; `exact` is torch's nearest-exact, which rounds at the pixel's middle."""
    half = ratio / 2 if exact else Fraction(0)
    return composed(reach, ratio.denominator, ratio.numerator, lambda position: (math.floor(position * ratio + half),))


def linear(reach: Reach, ratio: Fraction, aligned: bool) -> Reach:
    """Of linear interpolation; `aligned` puts the outermost pixels on each other (align_corners)."""
    return _interpolated(reach, ratio, aligned, 0, 1)


def cubic(reach: Reach, ratio: Fraction, aligned: bool) -> Reach:
    """Of cubic interpolation."""
    return _interpolated(reach, ratio, aligned, -1, 2)


def _interpolated(reach: Reach, ratio: Fraction, aligned: bool, before: int, after: int) -> Reach:
    offset = Fraction(0) if aligned else (ratio - 1) / 2

    def taps(position: int) -> Iterable[int]:
        source = position * ratio + offset
        start = math.floor(source)
        # Exactly on a pixel the others have weight 0.
        return (start,) if start == source else range(start + before, start + after + 1)

    return composed(reach, ratio.denominator, ratio.numerator, taps)


def smoothed(reach: Reach, ratio: Fraction, aligned: bool, radius: int) -> Reach:
    """Of resizing with antialias, whose filter reaches `radius` pixels of the smaller side: 1 for linear, 2 for cubic.

    The cubic filter is 0 at a distance of 1.
    """
    scale = max(ratio, Fraction(1))

    def taps(position: int) -> Iterable[int]:
        middle = (position + Fraction(1, 2)) * ratio - Fraction(1, 2)
        reached = range(math.ceil(middle - radius * scale), math.floor(middle + radius * scale) + 1)
        return [tap for tap in reached if abs(tap - middle) < radius * scale and (radius == 1 or abs(tap - middle) != scale)]

    return forgotten(reach) if aligned else composed(reach, ratio.denominator, ratio.numerator, taps)


@lru_cache(maxsize=4096)
def merged(one: Reach, other: Reach) -> Reach:
    """Of what depends on both; UNKNOWN where their positions do not keep step."""
    if one == other:
        return one
    if ALL in (one, other):
        return ALL
    if NOTHING in (one, other):
        return one if other == NOTHING else other
    cut = one.cut and other.cut
    period = math.lcm(one.period, other.period)  # 0 where one is unknown
    if one.advance * other.period != other.advance * one.period or not 0 < period <= LONGEST_PERIOD:
        return UNKNOWN._replace(cut=cut)
    pairs = [(interval(one, place), interval(other, place)) for place in range(period)]
    lo = tuple([min(a, b) for (a, _), (b, _) in pairs])
    hi = tuple([max(a, b) for (_, a), (_, b) in pairs])
    return _shortest(Reach(period, one.advance * period // one.period, lo, hi, cut))
