"""Numbers, shapes, sizes and names as text."""

from __future__ import annotations

from collections.abc import Sequence

from cnnprof.profiling.profile import Shape

NO_SHAPE = "-"
"""Stands for the shape of a tensor that does not exist: that of a layer that was never called."""

_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_DIGITS = (0, 1, 1, 2, 2, 2, 2)
"""Digits after the point, unit by unit: enough for three significant ones where the numbers are large."""


def count(number: int, complete: bool = True) -> str:
    """`1,333,200`, or `>= 1,333,200` for a lower bound."""
    return f"{number:,}" if complete else f">= {number:,}"


def shape(sizes: Shape) -> str:
    """`64x55x55`; `scalar` for a tensor of no dimensions."""
    return "x".join(map(str, sizes)) or "scalar"


def shapes(several: Sequence[Shape]) -> str:
    """`64x55x55, 10`; `-` where there is none."""
    return ", ".join(map(shape, several)) or NO_SHAPE


def per_axis(values: Sequence[object]) -> str:
    """A value for each axis, `5x3`; `-` for one that is not known."""
    return "x".join(NO_SHAPE if value is None else str(value) for value in values)


def axes(values: Sequence[object] | None) -> str:
    """`5` where all axes agree, else `5x3`; `-` where nothing is known."""
    return per_axis(tuple(dict.fromkeys(values)) if len(set(values)) == 1 else values) if values else NO_SHAPE


def size(number: int) -> str:
    """Bytes in binary and in decimal units, both labelled: `5.65 GiB (6.06 GB)`; `120 B` where that says it all."""
    if number < 1000:
        return f"{number} B"
    return f"{_in_units(number, 1024, _BINARY)} ({_in_units(number, 1000, _DECIMAL)})"


def _in_units(number: int, base: int, units: Sequence[str]) -> str:
    for power, (unit, digits) in enumerate(zip(units, _DIGITS, strict=True)):
        value = number / base**power
        # Rounding first: 1023.96 KiB is 1.0 MiB, not 1024.0 KiB.
        if round(value, digits) < base or unit == units[-1]:
            break
    return f"{value:,.{digits}f} {unit}"


def mebibytes(number: int) -> str:
    """Bytes in MiB with two digits after the point and no unit: `0.24`."""
    return f"{number / 2**20:,.2f}"


def plain(text: str) -> str:
    """The text in one line that moves no cursor: names come from files that anyone may have written."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
