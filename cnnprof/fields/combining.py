"""What operators that compute with elements make of dependences: element by element, windows, sums, concatenations."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial, reduce
from typing import Any, TypeAlias

import torch
from torch import Tensor

from cnnprof.fields.dependence import (
    MOST_VARIANTS,
    Change,
    Dependence,
    Reaches,
    blurred,
    mapped,
    settled,
    spoiled,
    unknown,
    unlabelled,
)
from cnnprof.fields.layout import Atom, Dim, Layout, atoms, axes_in, home, homes, in_one_piece, is_plain, lost
from cnnprof.fields.moving import broadcast, lined_up, padded
from cnnprof.fields.reach import ALL, NOTHING, PIXELS, UNKNOWN, Reach, composed, forgotten, merged, pinned, varies, window

Operand: TypeAlias = "tuple[Dependence | None, Sequence[int]]"
"""A dependence, None for a constant, and the shape of its tensor."""


def combined(operands: Iterable[Operand], shape: Sequence[int]) -> Dependence | None:
    """Of an element-wise operator whose output has that shape; None if all operands are constants."""
    found = [x if given == shape else broadcast(x, given, shape) for x, given in operands if x is not None]
    return reduce(partial(_both, shape=shape), found) if found else None


def met(one: Dependence, other: Dependence) -> Dependence | None:
    """Of two of the same shape where that is simple, as it mostly is: channels are alike, each axis has a dimension; else None."""
    if one.labels is not None or other.labels is not None or one.layout != other.layout or not is_plain(one.layout):
        return None
    reaches = tuple(map(merged, one.variants[0], other.variants[0]))
    return one if reaches == one.variants[0] else Dependence(one.layout, (reaches,))


def _both(one: Dependence, other: Dependence, shape: Sequence[int]) -> Dependence:
    if one is other:
        return one
    one, other = _alike([one, other], shape)
    if one.layout != other.layout:
        one, other = _filled(one, other, shape), _filled(other, one, shape)
    layout, apart = _common(one, other, shape)
    one, other = _labelled_for(one, layout), _labelled_for(other, layout)

    def meet(a: Reaches, b: Reaches) -> Reaches:
        pairs = enumerate(zip(a, b, strict=True))
        return tuple([merged(forgotten(r), forgotten(s)) if axis in apart else merged(r, s) for axis, (r, s) in pairs])

    if one.labels is None and other.labels is None:
        return Dependence(layout, (meet(one.variants[0], other.variants[0]),))
    zero = torch.zeros((1,) * len(layout), dtype=torch.int64)
    ones, twos = (zero if x.labels is None else x.labels for x in (one, other))
    pairs = ones * len(other.variants) + twos
    present = pairs.unique()
    if len(present) > MOST_VARIANTS:
        return Dependence(layout, (meet(blurred(one.variants), blurred(other.variants)),))
    numbers = [divmod(pair, len(other.variants)) for pair in present.tolist()]
    variants = [meet(one.variants[a], other.variants[b]) for a, b in numbers]
    return settled(layout, variants, torch.searchsorted(present, pairs))


def _alike(several: Sequence[Dependence], shape: Sequence[int]) -> list[Dependence]:
    """The same in one form, where they say where an axis stands in different forms."""
    first = several[0].layout
    if all(x.layout == first for x in several):
        return list(several)
    places = [place for place, dims in enumerate(zip(*(x.layout for x in several), strict=True)) if len(set(dims)) > 1]
    return [reduce(lambda one, place: lined_up(one, shape, place), places, x) for x in several]


def _filled(x: Dependence, like: Dependence, shape: Sequence[int]) -> Dependence:
    """With dimensions of `like` where it has none: one that is the same for all positions in a window is so for each of them."""
    places = [place for place, (a, b) in enumerate(zip(x.layout, like.layout, strict=True)) if a is None and isinstance(b, tuple)]
    if not places or (x.labels is not None and any(x.labels.shape[place] > 1 for place in places)):
        return x
    changes: dict[int, Change] = {}
    for axis in {axis for place in places for axis in axes_in(like.layout[place])}:
        has, all_ = set(home(x.layout, shape, axis)), set(home(like.layout, shape, axis))
        inside = [atom for _, atom in all_ - has]
        if any(varies(reaches[axis]) for reaches in x.variants):
            if not has or not has < all_ or not in_one_piece([atom for _, atom in all_]):
                return x
            changes[axis] = partial(_held, inside=inside)
    dims = list(x.layout)
    for place in places:
        dims[place] = like.layout[place]
    return mapped(x, tuple(dims), changes)


def _held(reach: Reach, inside: Sequence[Atom]) -> Reach:
    """The reach of every position where it is that of the first one along some atoms."""
    for atom in inside:
        reach = _first_of(reach, atom.weight or 1, atom.size)
    return reach


def _first_of(reach: Reach, weight: int, size: int) -> Reach:
    return composed(reach, weight * size, weight * size, lambda position: (position - position // weight % size * weight,))


def _common(one: Dependence, other: Dependence, shape: Sequence[int]) -> tuple[Layout, set[int]]:
    """The layout of both together, and the axes that do not stand in the same places in both."""
    if one.layout == other.layout and is_plain(one.layout):
        return one.layout, set()
    apart: set[int] = set()
    for axis in one.axes:
        places = [home(x.layout, shape, axis) for x in (one, other) if any(varies(reaches[axis]) for reaches in x.variants)]
        if len(places) == 2 and (places[0] != places[1] or any(atom.weight is None for _, atom in places[0])):
            apart.add(axis)
    dims: list[Dim] = []
    for a, b, size in zip(one.layout, other.layout, shape, strict=True):
        if a is not None and b is not None and a != b:
            apart |= axes_in(a) | axes_in(b)
            dims.append(lost(axes_in(a) | axes_in(b), size))
        else:
            dims.append(b if a is None else a)
    while True:  # what shares a dimension with a lost axis is lost too
        also = {axis for dim in dims if axes_in(dim) & apart for axis in axes_in(dim)}
        if also <= apart:
            break
        apart |= also
    return tuple([lost(axes_in(dim), size) if axes_in(dim) & apart else dim for dim, size in zip(dims, shape, strict=True)]), apart


def _labelled_for(x: Dependence, layout: Layout) -> Dependence:
    """Without labels where they run along a dimension that has axes in `layout` and had none, or others."""
    if x.labels is None:
        return x
    moved = (place for place, dim in enumerate(layout) if dim != x.layout[place])
    return unlabelled(x) if any(x.labels.shape[place] > 1 for place in moved) else x


def blended(x: Dependence, others: Iterable[Dependence | None]) -> Dependence:
    """With what `others` depend on added to every element, each of which may meet any of theirs."""
    for other in others:
        if other is not None:
            theirs = blurred(other.variants)
            variants = [tuple([merged(r, forgotten(s)) for r, s in zip(reaches, theirs, strict=True)]) for reaches in x.variants]
            labels = torch.zeros((1,) * len(x.layout), dtype=torch.int64) if x.labels is None else x.labels
            x = settled(x.layout, variants, labels)
    return x


# concatenations


def joined(operands: Sequence[Operand], place: int, shape: Sequence[int]) -> Dependence | None:
    """Of a concatenation along a dimension. Constants beside what varies along an axis are a border."""
    operands = [(x, size) for x, size in operands if size[place]]
    given = [x for x, _ in operands if x is not None]
    if not given:
        return None
    if all(x.layout[place] is None for x in given):
        return _stacked(operands, place, shape)
    if len(given) == 1:
        number = next(n for n, (x, _) in enumerate(operands) if x is not None)
        before = sum(size[place] for _, size in operands[:number])
        after = sum(size[place] for _, size in operands[number + 1 :])
        return padded(given[0], operands[number][1], {place: before}, {place: after}, shape)
    spoilt = [spoiled(x, [place], size) for x, size in operands if x is not None]
    if any(x.layout != spoilt[0].layout for x in spoilt):
        return unknown(len(shape), spoilt)
    return spoiled(Dependence(spoilt[0].layout, (blurred(x.variants[0] for x in spoilt),)), [place], shape)


def _stacked(operands: Sequence[Operand], place: int, shape: Sequence[int]) -> Dependence:
    """Along a dimension of channels: each operand has its variants."""
    layout, given = _aligned([x for x, _ in operands if x is not None], shape)
    forms = iter(given)
    constant = Dependence(layout, ((NOTHING,) * len(given[0].axes),))
    parts = [constant if x is None else next(forms) for x, _ in operands]
    counts = [size[place] for _, size in operands]
    numbers: dict[Reaches, int] = {}
    tables = [[numbers.setdefault(reaches, len(numbers)) for reaches in part.variants] for part in parts]
    if len(numbers) == 1 or len(numbers) > MOST_VARIANTS:
        return Dependence(layout, (blurred(numbers),))
    if all(part.labels is None for part in parts):
        each = array("q")  # in plain Python: torch's repeat_interleave starts threads, which takes milliseconds
        for (number,), count in zip(tables, counts, strict=True):
            each += array("q", [number]) * count
        labels = torch.frombuffer(each, dtype=torch.int64)
        return Dependence(layout, tuple(numbers), labels.view([-1 if d == place else 1 for d in range(len(shape))]))
    columns = []
    for part, table, count in zip(parts, tables, counts, strict=True):
        labels = torch.zeros((1,) * len(shape), dtype=torch.int64) if part.labels is None else part.labels
        columns.append(torch.tensor(table)[labels.expand([count if d == place else n for d, n in enumerate(labels.shape)])])
    sizes = [max(column.shape[d] for column in columns) for d in range(len(shape))]
    whole = [column.expand([column.shape[d] if d == place else n for d, n in enumerate(sizes)]) for column in columns]
    return Dependence(layout, tuple(numbers), torch.cat(whole, place))


def _aligned(given: Sequence[Dependence], shape: Sequence[int]) -> tuple[Layout, Sequence[Dependence]]:
    """One layout for all, and what each is in it."""
    layout = given[0].layout
    if is_plain(layout) and all(x.layout == layout for x in given):
        return layout, given
    given = _alike(given, shape)
    layout, apart, seen = given[0].layout, set[int](), given[0].variants
    for x in given[1:]:
        layout, more = _common(Dependence(layout, seen), x, shape)
        apart |= more
        seen += x.variants
    return layout, [_labelled_for(mapped(x, x.layout, dict.fromkeys(apart, forgotten)), layout) for x in given]


# what reads along dimensions


def regrouped(x: Dependence, place: int, sources: Sequence[Iterable[int]]) -> Dependence:
    """Of an operator that reads along a dimension of channels: for each index of its output the indices that it reads."""
    if x.labels is None or x.labels.shape[place] == 1:
        return x
    if len(sources) == 1 and x.labels.numel() == x.labels.shape[place] == len(frozenset(sources[0])):
        return Dependence(x.layout, (tuple([reduce(merged, along) for along in zip(*x.variants, strict=True)]),))
    rows = x.labels.movedim(place, -1)
    sets: dict[frozenset[int], int] = {}
    numbers = [
        sets.setdefault(frozenset([row[index] for index in source]), len(sets))
        for row in rows.reshape(-1, rows.shape[-1]).tolist()
        for source in sources
    ]
    variants = [tuple([reduce(merged, along) for along in zip(*(x.variants[n] for n in read), strict=True)]) for read in sets]
    labels = torch.tensor(numbers).reshape([*rows.shape[:-1], len(sources)]).movedim(-1, place)
    return settled(x.layout, variants, labels)


def contracted(x: Dependence, shape: Sequence[int], dims: Iterable[int]) -> Dependence:
    """Of an operator that reads everything along `dims`, which are of one element then."""
    for place in dims:
        if x.labels is not None:
            x = regrouped(x, place, (range(x.labels.shape[place]),))
        dim = x.layout[place]
        if dim is not None:
            layout = (*x.layout[:place], None, *x.layout[place + 1 :])
            found = atoms(dim, shape[place])
            readers = {
                axis: partial(_read, inside=[atom for atom in found if axis in atom.axes], elsewhere=bool(homes(layout, axis)))
                for axis in axes_in(dim)
            }
            x = mapped(x, layout, readers)
    return x


def _read(reach: Reach, inside: Sequence[Atom], elsewhere: bool) -> Reach:
    """The reach of everything along a dimension together, for an axis that varies along others too or does not."""
    if not varies(reach):
        return reach
    if not elsewhere and not reach.cut:
        return ALL
    for atom in inside:
        reach = forgotten(reach) if atom.weight is None else window(reach, atom.size, 1, 0, atom.weight)
    return reach if elsewhere else pinned(reach)


Step: TypeAlias = Callable[..., Reach]
"""What a window does to a reach, from its sizes along one dimension."""
Reads: TypeAlias = Callable[[int], Sequence[Iterable[int]]]
"""For a dimension the indices that each index of the output reads."""


def windowed(
    x: Dependence,
    tensor: Tensor,
    made: Tensor,
    step: Step,
    sizes: Iterable[Sequence[Any]],
    reads: Reads | None = None,
) -> Dependence:
    """Of an operator that reads windows along the last dimensions of a tensor and makes another.

    `sizes` are what `step` takes after the reach, for each of these dimensions. `reads` is for dimensions of channels that differ;
    without it they are told apart no more.
    """
    sizes = tuple(sizes)
    layout = x.layout
    first = len(layout) - len(sizes)
    if x.labels is not None:
        return _windowed(x, tensor.shape, made.shape, {first + n: (step, one) for n, one in enumerate(sizes)}, reads)
    along = list(x.variants[0])
    before = after = UNKNOWN
    last: Sequence[Any] = ()
    for place, one in enumerate(sizes, first):
        dim = layout[place]
        if isinstance(dim, int):
            if along[dim] is not before or one != last:  # mostly it is as high as wide
                before, last = along[dim], one
                after = step(before, *one)
            along[dim] = after
        elif dim is not None:
            return _windowed(x, tensor.shape, made.shape, {first + n: (step, one) for n, one in enumerate(sizes)}, reads)
    reaches = tuple(along)
    return x if reaches == x.variants[0] else Dependence(layout, (reaches,))


def _windowed(
    x: Dependence,
    shape: Sequence[int],
    made: Sequence[int],
    steps: Mapping[int, tuple[Step, Sequence[Any]]],
    reads: Reads | None,
) -> Dependence:
    """The same where channels differ, or where axes do not stand in dimensions of their own."""
    plain: dict[int, Change] = {}
    tangled: list[int] = []
    for place, (step, sizes) in steps.items():
        if step(PIXELS, *sizes) == PIXELS:
            continue
        x = lined_up(x, shape, place)
        dim = x.layout[place]
        if isinstance(dim, int):
            plain[dim] = partial(_stepped, step=step, sizes=sizes)
        elif dim is not None:
            tangled.append(place)
        elif x.labels is not None and x.labels.shape[place] > 1:
            x = unlabelled(x) if reads is None else regrouped(x, place, reads(place))
    x = mapped(x, x.layout, plain)
    return spoiled(x, tangled, made) if tangled else x


def _stepped(reach: Reach, step: Step, sizes: Sequence[Any]) -> Reach:
    return step(reach, *sizes)
