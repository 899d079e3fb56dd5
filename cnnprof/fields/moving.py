"""What operators that only move elements about make of a dependence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from torch import Tensor

from cnnprof.fields.dependence import Dependence, mapped, settled, spoiled, unknown, unlabelled
from cnnprof.fields.layout import axes_in, homes, others, reshaped
from cnnprof.fields.reach import Reach, curtailed, pinned, repeated, window


def permuted(x: Dependence, order: Sequence[int]) -> Dependence:
    """With its dimensions in that order."""
    labels = None if x.labels is None else x.labels.permute(tuple(order))
    return Dependence(tuple([x.layout[place] for place in order]), x.variants, labels)


def viewed(x: Dependence, shape: Sequence[int], wanted: Sequence[int]) -> Dependence:
    """As another shape with the same number of elements."""
    before, after = tuple(shape), tuple(wanted)
    if before == after:
        return x
    if 0 in before:
        return unknown(len(after), [x])
    layout, ordered = reshaped(x.layout, before, after)
    labels = x.labels
    if labels is not None and ordered:
        labels = labels.expand([others(dim, size) for dim, size in zip(x.layout, before, strict=True)])
        labels = _thinned(labels.reshape([others(dim, size) for dim, size in zip(layout, after, strict=True)]))
    else:
        x, labels = unlabelled(x), None
    gone = [axis for axis in x.axes if homes(x.layout, axis) and not homes(layout, axis)]
    return mapped(Dependence(layout, x.variants, labels), layout, dict.fromkeys(gone, pinned))


def _thinned(labels: Tensor) -> Tensor:
    """The same with a size of 1 wherever they do not change along a dimension."""
    for place, size in enumerate(labels.shape):
        if size > 1:
            one = labels.narrow(place, 0, 1)
            labels = one if bool((labels == one).all()) else labels
    return labels


def inserted(x: Dependence, place: int) -> Dependence:
    """With a new dimension before `place`."""
    labels = None if x.labels is None else x.labels.unsqueeze(place)
    return Dependence((*x.layout[:place], None, *x.layout[place:]), x.variants, labels)


def dropped(x: Dependence, dims: Iterable[int]) -> Dependence:
    """Without these dimensions, each of one element."""
    gone = set(dims)
    if not gone:
        return x
    for place in gone:
        x = single(x, place)
    layout = tuple([dim for place, dim in enumerate(x.layout) if place not in gone])
    return Dependence(layout, x.variants, None if x.labels is None else x.labels.squeeze(tuple(gone)))


def single(x: Dependence, place: int) -> Dependence:
    """With one element along a dimension, the first: there an axis that has no other dimension is at one position."""
    axes = axes_in(x.layout[place])
    layout = (*x.layout[:place], None, *x.layout[place + 1 :])
    return mapped(x, layout, {axis: pinned for axis in axes if not homes(layout, axis)})


def broadcast(x: Dependence, shape: Sequence[int], wanted: Sequence[int]) -> Dependence:
    """Expanded to the shape `wanted`, which may have more dimensions in front."""
    missing = len(wanted) - len(shape)
    for place, size in enumerate(shape):
        if size == 1 and wanted[missing + place] > 1 and x.layout[place] is not None:
            x = single(x, place)
    if not missing:
        return x
    labels = None if x.labels is None else x.labels.reshape((*(1,) * missing, *x.labels.shape))
    return Dependence((*(None,) * missing, *x.layout), x.variants, labels)


def lined_up(x: Dependence, shape: Sequence[int], place: int) -> Dependence:
    """With a dimension of atoms as one of positions, where they are equally far apart, or each stands there several times."""
    dim = x.layout[place]
    if not isinstance(dim, tuple) or len(dim[0].axes) != 1 or dim[0].weight is None or any(atom.axes for atom in dim[1:]):
        return x
    (axis,), weight = dim[0].axes, dim[0].weight
    if homes(x.layout, axis) != [place] or (x.labels is not None and x.labels.shape[place] > 1):
        return x
    times = shape[place] // dim[0].size
    layout = (*x.layout[:place], axis, *x.layout[place + 1 :])
    return mapped(x, layout, {axis: lambda reach: repeated(window(reach, 1, weight, 0, 1), times)})


def sliced(x: Dependence, shape: Sequence[int], place: int, start: int, count: int, step: int = 1) -> Dependence:
    """`count` elements of a dimension, every `step`-th from `start` on."""
    has = shape[place]
    if (start, count, step) == (0, has, 1):
        return x
    x = lined_up(x, shape, place)
    dim = x.layout[place]
    if isinstance(dim, int):
        cuts = start >= step or start + count * step < has

        def change(reach: Reach) -> Reach:
            read = window(reach, 1, step, -start, 1)
            return curtailed(read) if cuts else read

        return mapped(x, x.layout, {dim: change})
    if dim is not None:
        x = mapped(x, x.layout, dict.fromkeys(axes_in(dim), curtailed))
        return spoiled(x, [place], [count if d == place else size for d, size in enumerate(shape)])
    if x.labels is None or x.labels.shape[place] == 1:
        return x
    kept = x.labels.narrow(place, start, (count - 1) * step + 1)
    every = (*(slice(None),) * place, slice(None, None, step))
    return settled(x.layout, x.variants, kept[every])


def picked(x: Dependence, shape: Sequence[int], place: int, index: int) -> Dependence:
    """The elements at one index of a dimension, which is gone then."""
    return dropped(sliced(x, shape, place, index, 1), [place])


def padded(
    x: Dependence, shape: Sequence[int], before: Mapping[int, int], after: Mapping[int, int], made: Sequence[int]
) -> Dependence:
    """With so many positions before and after what there was along dimensions of axes, negative where it is cropped.

    `made` is the shape that this makes. What stands in the new positions is left out, as borders are everywhere.
    """
    tangled = []
    for place, count in before.items():
        if count == after[place] == 0:
            continue
        x = lined_up(x, shape, place)
        dim = x.layout[place]
        crop = min(count, after[place]) < 0
        if isinstance(dim, int):
            x = mapped(x, x.layout, {dim: partial(_shifted, by=count, cuts=crop)})
        elif dim is not None:
            tangled.append(place)
            if crop:
                x = mapped(x, x.layout, dict.fromkeys(axes_in(dim), curtailed))
    return spoiled(x, tangled, made) if tangled else x


def _shifted(reach: Reach, by: int, cuts: bool) -> Reach:
    moved = window(reach, 1, 1, by, 1)
    return curtailed(moved) if cuts else moved
