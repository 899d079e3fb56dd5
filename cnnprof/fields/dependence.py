"""What the elements of a tensor depend on: along each axis of the input a reach, and where its positions stand.

Where channels differ, as after a concatenation, there are several variants, and labels that say which element has which.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from cnnprof.fields.layout import Layout, axes_in, homes, lost
from cnnprof.fields.reach import ALL, NOTHING, PIXELS, UNKNOWN, Reach, either, forgotten, size, stride

Reaches: TypeAlias = "tuple[Reach, ...]"
"""One for each axis of the input."""
Change: TypeAlias = Callable[[Reach], Reach]

MOST_VARIANTS = 1024
"""Beyond it channels are told apart no more."""


class Field(NamedTuple):
    """The receptive field of a tensor's elements, axis by axis."""

    size: tuple[int | Literal["all"] | None, ...] | None
    """Pixels from the first to the last, of the element that has most; `all`, or None where it is not known."""
    stride: tuple[int | Fraction | None, ...] | None
    """Pixels between neighbouring elements; None where there are no neighbours, or where it is not known."""


NO_FIELD = Field(None, None)
"""Of what depends on no pixel, or of which nothing is known."""


class Dependence:
    """What the elements of a tensor depend on. Never changed once it is made: tensors share it."""

    __slots__ = ("_field", "labels", "layout", "variants")

    def __init__(self, layout: Layout, variants: tuple[Reaches, ...], labels: Tensor | None = None) -> None:
        self.layout = layout
        """Of each dimension of the tensor, the batch among them."""
        self.variants = variants
        self.labels = labels
        """For each element the number of its variant; None where there is one variant. As many dimensions as the tensor: the size
        of one is 1 if the variant does not depend on it, else how many channels there are along it."""
        self._field: Field | None = None

    def same(self, other: Dependence) -> bool:
        """Whether the two say the same."""
        if self is other:
            return True
        if self.layout != other.layout or self.variants != other.variants:
            return False
        if self.labels is None or other.labels is None:
            return self.labels is other.labels
        return torch.equal(self.labels, other.labels)

    @property
    def axes(self) -> range:
        """The axes of the input."""
        return range(len(self.variants[0]))

    def field(self) -> Field:
        """The receptive field."""
        if self._field is None:
            sizes: list[int | Literal["all"] | None] = []
            strides: list[int | Fraction | None] = []
            before: tuple[Reach, ...] = ()
            for axis, along in enumerate(zip(*self.variants, strict=True)):
                if along != before:  # mostly it is as high as wide
                    pixels, step = _largest(along)
                    before = along
                sizes.append(pixels)
                strides.append(step if step is None or axis in self.layout else self._apart(axis, step))
            nothing = [None] * len(sizes) if sizes else None
            self._field = Field(None if sizes == nothing else tuple(sizes), None if strides == nothing else tuple(strides))
        return self._field

    def _apart(self, axis: int, step: int | Fraction) -> int | Fraction | None:
        """How far neighbours are apart along an axis that has no dimension to itself."""
        shared = [dim for dim in self.layout if isinstance(dim, tuple) and axis in axes_in(dim)]
        weights = [atom.weight for dim in shared for atom in dim if axis in atom.axes]
        known = [weight for weight in weights if weight]
        if not known or len(known) < len(weights):
            return None
        own = [dim[0].weight for dim in shared if len(dim) == 1 and dim[0].weight]
        step *= max(own) if own else math.gcd(*known)
        if len(shared) == 1 and len(shared[0]) == 2 and not shared[0][1].axes:
            step = Fraction(step, shared[0][1].size)  # each stands there several times in a row
        return int(step) if step == int(step) else step


@lru_cache(maxsize=1024)
def _largest(along: tuple[Reach, ...]) -> tuple[int | Literal["all"] | None, int | Fraction | None]:
    """The largest of the sizes, and the stride that all have."""
    sizes = {size(reach) for reach in along}
    steps = {stride(reach) for reach in along if reach != NOTHING}
    step = steps.pop() if len(steps) == 1 else None
    if math.inf in sizes:
        return "all", step
    return (None if None in sizes else int(max(pixels for pixels in sizes if pixels is not None))), step


def of_input(rank: int, axes: int) -> Dependence:
    """That of the network's input, whose last dimensions are the axes."""
    return Dependence((*(None,) * (rank - axes), *range(axes)), ((PIXELS,) * axes,))


def unknown(rank: int, operands: Iterable[Dependence]) -> Dependence:
    """That of what an operator without a rule makes: what depended on all before still does, the rest is unknown."""
    every = [reaches for operand in operands for reaches in operand.variants]
    return Dependence((None,) * rank, (tuple([ALL if set(along) == {ALL} else UNKNOWN for along in zip(*every, strict=True)]),))


def settled(layout: Layout, variants: Sequence[Reaches], labels: Tensor) -> Dependence:
    """With each variant once, and none that no element has."""
    used, inverse = torch.unique(labels, return_inverse=True)
    number: dict[Reaches, int] = {}
    table = [number.setdefault(variants[label], len(number)) for label in used.tolist()]
    if len(number) == 1:
        return Dependence(layout, tuple(number))
    if len(number) > MOST_VARIANTS:
        return Dependence(layout, (blurred(list(number)),))
    return Dependence(layout, tuple(number), torch.tensor(table)[inverse])


def blurred(variants: Iterable[Reaches]) -> Reaches:
    """What is known of an element that may have any of the variants."""
    return tuple([either(along) for along in zip(*variants, strict=True)])


def unlabelled(x: Dependence) -> Dependence:
    """With one variant for all elements."""
    return x if x.labels is None else Dependence(x.layout, (blurred(x.variants),))


def mapped(x: Dependence, layout: Layout, changes: Mapping[int, Change]) -> Dependence:
    """With another layout, and the reach along each of these axes changed so."""
    if not changes:
        return x if layout == x.layout else Dependence(layout, x.variants, x.labels)
    variants = []
    for reaches in x.variants:
        along = list(reaches)
        for axis, change in changes.items():
            along[axis] = change(along[axis])
        variants.append(tuple(along))
    return Dependence(layout, (variants[0],)) if x.labels is None else settled(layout, variants, x.labels)


def disordered(x: Dependence, dims: Iterable[int], shape: Sequence[int]) -> Dependence:
    """With the axes along these dimensions in an order that is lost, in a tensor that now has that shape.

    Each element still depends on what it did, but its neighbours are others.
    """
    layout = list(x.layout)
    axes = {axis for place in dims for axis in axes_in(layout[place])}
    for place in {place for axis in axes for place in homes(x.layout, axis)}:
        layout[place] = lost(axes_in(layout[place]), shape[place])
    if x.labels is not None and any(x.labels.shape[place] > 1 for place in dims):
        x = unlabelled(x)
    return mapped(x, tuple(layout), {})


def spoiled(x: Dependence, dims: Sequence[int], shape: Sequence[int]) -> Dependence:
    """The same where it is not known what the elements depend on either."""
    axes = {axis for place in dims for axis in axes_in(x.layout[place])}
    x = disordered(x, dims, shape)
    return mapped(x, x.layout, dict.fromkeys(axes, forgotten))
