"""Where the positions along each axis of the input stand in a tensor that was made of it.

A convolution keeps them where they are, one dimension for each axis. Views do not: flattening puts several axes into one dimension,
cutting a map into windows puts one axis into several. So a dimension is a product of atoms, outermost first, as in memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeAlias

Size: TypeAlias = "tuple[int, ...]"


class Atom(NamedTuple):
    """A factor of a dimension."""

    axes: tuple[int, ...]
    """The axes of the input whose positions vary along it: none for channels, several only where the order is lost."""
    size: int
    weight: int | None
    """By how many positions a step along it moves along its axis; None where the order is lost."""


Dim: TypeAlias = "int | tuple[Atom, ...] | None"
"""A dimension: an axis whose positions stand there in order and nowhere else, no axis at all, or atoms."""

Layout: TypeAlias = "tuple[Dim, ...]"


def atoms(dim: Dim, size: int) -> tuple[Atom, ...]:
    """The atoms of a dimension of that size."""
    if isinstance(dim, tuple):
        return dim
    return (Atom(() if dim is None else (dim,), size, 1),)


def axes_in(dim: Dim) -> set[int]:
    """The axes of the input that vary along a dimension."""
    if isinstance(dim, tuple):
        return {axis for atom in dim for axis in atom.axes}
    return set() if dim is None else {dim}


@lru_cache(maxsize=1024)
def is_plain(layout: Layout) -> bool:
    """Whether every axis stands in a dimension of its own."""
    return not any(isinstance(dim, tuple) for dim in layout)


def homes(layout: Layout, axis: int) -> list[int]:
    """The dimensions along which an axis varies."""
    return [place for place, dim in enumerate(layout) if dim == axis or (isinstance(dim, tuple) and axis in axes_in(dim))]


def home(layout: Layout, shape: Sequence[int], axis: int) -> tuple[tuple[int, Atom], ...]:
    """The dimensions along which an axis varies, with its atoms there."""
    places = ((place, atom) for place in homes(layout, axis) for atom in atoms(layout[place], shape[place]))
    return tuple((place, atom) for place, atom in places if axis in atom.axes)


def in_one_piece(found: Sequence[Atom]) -> bool:
    """Whether each position is at one place along these atoms of an axis, as a number has its digits."""
    weight = 1
    for atom in sorted(found, key=lambda atom: atom.weight or 0):
        if atom.weight != weight:
            return False
        weight *= atom.size
    return True


def lost(axes: Iterable[int], size: int) -> Dim:
    """A dimension along which these axes vary nobody knows how."""
    several = tuple(sorted(axes))
    return (Atom(several, size, None),) if several and size > 1 else None


def others(dim: Dim, size: int) -> int:
    """How many elements there are along a dimension for each position: its channels."""
    if dim is None:
        return size
    return math.prod(atom.size for atom in dim if not atom.axes) if isinstance(dim, tuple) else 1


@lru_cache(maxsize=1024)
def reshaped(layout: Layout, shape: Size, wanted: Size) -> tuple[Layout, bool]:
    """The layout after a view of that shape, and whether the order of everything is still known.

    Atoms of one element are left out: an axis that has one position varies no more.
    """
    waiting = [atom for dim, size in zip(layout, shape, strict=True) for atom in atoms(dim, size) if atom.size > 1][::-1]
    found: list[list[Atom]] = []
    for size in wanted:
        taken: list[Atom] = []
        left = size
        while left > 1:
            axes, has, weight = atom = waiting.pop()
            if left % has == 0:
                taken.append(atom)
                left //= has
            elif has % left == 0:
                inner = has // left
                taken.append(Atom(axes, left, weight and weight * inner))
                waiting.append(Atom(axes, inner, weight))
                left = 1
            else:
                mixed = {axis for one in (*taken, atom, *waiting) for axis in one.axes}
                done = [_joined(before) for before in found]
                return _named((*done, *(lost(mixed, n) for n in wanted[len(done) :])), wanted), False
        found.append(taken)
    return _named(tuple(_joined(taken) for taken in found), wanted), True


def _joined(taken: Sequence[Atom]) -> Dim:
    """The dimension of these atoms, with neighbours that are one run of positions as one."""
    joined: list[Atom] = []
    for atom in taken:
        last = joined[-1] if joined else None
        if last and last.axes == atom.axes and (not atom.axes or (atom.weight and last.weight == atom.size * atom.weight)):
            joined[-1] = Atom(atom.axes, last.size * atom.size, atom.weight)
        else:
            joined.append(atom)
    return tuple(joined) if any(atom.axes for atom in joined) else None


def _named(layout: Layout, shape: Size) -> Layout:
    """The same with each dimension that is all of one axis in order as the number of that axis."""
    named = list(layout)
    for place, dim in enumerate(layout):
        if isinstance(dim, tuple) and len(dim) == 1 and dim[0].weight == 1 and dim[0].size == shape[place]:
            (axis,) = dim[0].axes
            if homes(layout, axis) == [place]:
                named[place] = axis
    return tuple(named)
