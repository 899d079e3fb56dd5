"""Rules of the operators that only move elements: views, slices, permutations, concatenations, paddings.

A rule receives a function that looks up what a tensor depends on (None: on no pixel), the operator's outputs and its own
arguments. It returns what the first output depends on, or a list with an entry for each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from torch import Tensor

from cnnprof.fields.combining import joined
from cnnprof.fields.dependence import Dependence, disordered, mapped, spoiled, unknown, unlabelled
from cnnprof.fields.layout import Atom, axes_in
from cnnprof.fields.moving import broadcast as broadcast_to
from cnnprof.fields.moving import dropped, inserted, lined_up, padded, permuted, picked, sliced, viewed
from cnnprof.fields.reach import curtailed, window

Look: TypeAlias = Callable[[Any], "Dependence | None"]
Made: TypeAlias = "Sequence[Tensor]"
Found: TypeAlias = "Dependence | list[Dependence | None] | None"


def view(look: Look, made: Made, x: Tensor, *_: Any, **__: Any) -> Found:
    """Any change of shape that keeps the elements in their order."""
    known = look(x)
    return known and viewed(known, x.shape, made[0].shape)


def permute(look: Look, made: Made, x: Tensor, dims: Sequence[int]) -> Found:
    known = look(x)
    return known and permuted(known, [dim % x.dim() for dim in dims])


def transpose(look: Look, made: Made, x: Tensor, dim0: int = 0, dim1: int = -1) -> Found:
    """Also `t`, which swaps the two dimensions of a matrix."""
    known = look(x)
    order = list(range(x.dim()))
    if known is None or not order:
        return known
    order[dim0], order[dim1] = order[dim1], order[dim0]
    return permuted(known, order)


def unsqueeze(look: Look, made: Made, x: Tensor, dim: int) -> Found:
    known = look(x)
    return known and inserted(known, dim % made[0].dim())


def squeeze(look: Look, made: Made, x: Tensor, dim: int | Sequence[int] | None = None) -> Found:
    known = look(x)
    dims = range(x.dim()) if dim is None else [dim] if isinstance(dim, int) else dim
    return known and dropped(known, [d % x.dim() for d in dims if x.shape[d] == 1])


def expand(look: Look, made: Made, x: Tensor, *_: Any, **__: Any) -> Found:
    known = look(x)
    return known and broadcast_to(known, x.shape, made[0].shape)


def select(look: Look, made: Made, x: Tensor, dim: int, index: int) -> Found:
    known = look(x)
    return known and picked(known, x.shape, dim % x.dim(), index % x.shape[dim])


def unbind(look: Look, made: Made, x: Tensor, dim: int = 0) -> Found:
    known = look(x)
    return known and [picked(known, x.shape, dim % x.dim(), index) for index in range(len(made))]


def slice_(
    look: Look, made: Made, x: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Found:
    known = look(x)
    first, _, _ = slice(start, end, step).indices(x.shape[dim])
    return known and sliced(known, x.shape, dim % x.dim(), first, made[0].shape[dim], step)


def split(look: Look, made: Made, x: Tensor, sizes: Any, dim: int = 0) -> Found:
    """In pieces of one size or of several."""
    known = look(x)
    if known is None:
        return None
    found: list[Dependence | None] = []
    start = 0
    for piece in made:
        found.append(sliced(known, x.shape, dim % x.dim(), start, piece.shape[dim]))
        start += piece.shape[dim]
    return found


def unfold(look: Look, made: Made, x: Tensor, dimension: int, size: int, step: int) -> Found:
    """A view of windows: their starts stay where the dimension was, what is in each becomes the last one."""
    known = look(x)
    if known is None or not x.dim():
        return known
    place = dimension % x.dim()
    known = lined_up(known, x.shape, place)
    axis = known.layout[place]
    if not isinstance(axis, int):
        return unknown(x.dim() + 1, [known])
    layout = list(inserted(known, x.dim()).layout)
    layout[place] = (Atom((axis,), made[0].shape[place], step),)
    layout[-1] = (Atom((axis,), size, 1),)
    return mapped(inserted(known, x.dim()), tuple(layout), {})


def cat(look: Look, made: Made, tensors: Sequence[Tensor], dim: int = 0) -> Found:
    rank = made[0].dim()
    kept = [x for x in tensors if x.dim() == rank]  # torch takes an empty vector beside anything
    return joined([(look(x), x.shape) for x in kept], dim % rank, made[0].shape)


def stack(look: Look, made: Made, tensors: Sequence[Tensor], dim: int = 0) -> Found:
    place = dim % made[0].dim()
    operands = []
    for x in tensors:
        known = look(x)
        operands.append((known and inserted(known, place), (*x.shape[:place], 1, *x.shape[place:])))
    return joined(operands, place, made[0].shape)


def repeat(look: Look, made: Made, x: Tensor, repeats: Sequence[int]) -> Found:
    """Each dimension as a view of its repeats and itself."""
    known = look(x)
    if known is None:
        return None
    missing = len(repeats) - x.dim()
    shape, wider = [], []
    for _ in range(missing):
        known = inserted(known, 0)
    for times, size in zip(repeats, (*(1,) * missing, *x.shape), strict=True):
        shape += [1, size]
        wider += [times, size]
    for place in range(len(repeats)):
        known = inserted(known, 2 * place)
    return viewed(broadcast_to(known, shape, wider), wider, made[0].shape)


def constant_pad(look: Look, made: Made, x: Tensor, pad: Sequence[int], value: Any = 0) -> Found:
    """Of channels too: those that are new are constants."""
    known = look(x)
    if known is None:
        return None
    shape = list(x.shape)
    before, after = {}, {}
    for number in range(len(pad) // 2):
        place = x.dim() - 1 - number
        left, right = pad[2 * number : 2 * number + 2]
        if known.layout[place] is not None:
            before[place], after[place] = left, right
            continue
        start, count = max(0, -left), shape[place] + min(0, left) + min(0, right)
        known = sliced(known, shape, place, start, count)
        sizes = [max(0, left), count, max(0, right)]
        parts = [(known if n == 1 else None, [*shape[:place], size, *shape[place + 1 :]]) for n, size in enumerate(sizes) if size]
        shape[place] = sum(sizes)
        known = joined(parts, place, shape)
        if known is None:
            return None
    return padded(known, shape, before, after, made[0].shape)


def border_pad(look: Look, made: Made, x: Tensor, padding: Sequence[int]) -> Found:
    """With values of the map itself, in a mirror or repeated. They depend on no more than the interior formula says."""
    known = look(x)
    if known is None:
        return None
    places = [x.dim() - 1 - number for number in range(len(padding) // 2)]
    before = {place: padding[2 * number] for number, place in enumerate(places)}
    after = {place: padding[2 * number + 1] for number, place in enumerate(places)}
    labelled = known.labels is not None and any(known.labels.shape[place] > 1 for place in places)
    return padded(unlabelled(known) if labelled else known, x.shape, before, after, made[0].shape)


def roll(look: Look, made: Made, x: Tensor, shifts: Sequence[int], dims: Sequence[int] = ()) -> Found:
    """Along these dimensions, or along all."""
    return flip(look, made, x, dims or range(x.dim()))


def flip(look: Look, made: Made, x: Tensor, dims: Sequence[int]) -> Found:
    known = look(x)
    return known and disordered(known, [dim % x.dim() for dim in dims], x.shape)


def pixel_shuffle(look: Look, made: Made, x: Tensor, factor: int) -> Found:
    """Channels to pixels: the view, permutation and view that it stands for."""
    known = look(x)
    if known is None:
        return None
    *batch, channels, height, width = x.shape
    apart = [*batch, channels // factor**2, factor, factor, height, width]
    n = len(batch)
    order = [*range(n + 1), n + 3, n + 1, n + 4, n + 2]
    return viewed(permuted(viewed(known, x.shape, apart), order), [apart[place] for place in order], made[0].shape)


def pixel_unshuffle(look: Look, made: Made, x: Tensor, factor: int) -> Found:
    """Pixels to channels, as above."""
    known = look(x)
    if known is None:
        return None
    *batch, channels, height, width = x.shape
    apart = [*batch, channels, height // factor, factor, width // factor, factor]
    n = len(batch)
    order = [*range(n + 1), n + 2, n + 4, n + 1, n + 3]
    return viewed(permuted(viewed(known, x.shape, apart), order), [apart[place] for place in order], made[0].shape)


def channel_shuffle(look: Look, made: Made, x: Tensor, groups: int) -> Found:
    """The view, permutation and view that it stands for."""
    known = look(x)
    if known is None:
        return None
    batch, channels, *rest = x.shape
    apart = [batch, groups, channels // groups, *rest]
    order = [0, 2, 1, *range(3, len(apart))]
    return viewed(permuted(viewed(known, x.shape, apart), order), [apart[place] for place in order], x.shape)


def im2col(
    look: Look,
    made: Made,
    x: Tensor,
    kernel_size: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[int],
    stride: Sequence[int],
) -> Found:
    """Windows as columns: channels x kernel height x kernel width, then rows x columns of windows."""
    known = look(x)
    if known is None:
        return None
    places = [x.dim() - 2, x.dim() - 1]
    axes = [axis for place in places if isinstance(axis := known.layout[place], int)]
    if len(axes) < 2 or known.layout[-3] is not None:
        return unknown(made[0].dim(), [known])
    sizes = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, d, p, s in zip(x.shape[-2:], kernel_size, dilation, padding, stride, strict=True)
    ]
    inside = [Atom((axis,), k, d) for axis, k, d in zip(axes, kernel_size, dilation, strict=True) if k > 1]
    starts = [Atom((axis,), n, s) for axis, n, s in zip(axes, sizes, stride, strict=True) if n > 1]
    channels = [Atom((), x.shape[-3], 1)]
    layout = (*known.layout[:-3], (*channels, *inside) if inside else None, tuple(starts) or None)
    labels = None if known.labels is None else known.labels.squeeze(-1)
    shifts = {axis: _shift(p) for axis, p in zip(axes, padding, strict=True)}
    return mapped(Dependence(layout, known.variants, labels), layout, shifts)


def _shift(by: int) -> Callable[[Any], Any]:
    return lambda reach: window(reach, 1, 1, by, 1)


def index_select(look: Look, made: Made, x: Tensor, dim: int, index: Tensor) -> Found:
    """Channels in another order; of axes the order is lost."""
    return _indexed(look, made, x, dim, index)


def index(look: Look, made: Made, x: Tensor, indices: Sequence[Tensor | None]) -> Found:
    """`x[:, index]` with one vector; anything else is unknown."""
    dims = [dim for dim, given in enumerate(indices) if given is not None]
    vector = indices[dims[0]]
    if len(dims) == 1 and vector is not None and vector.dim() == 1:
        return _indexed(look, made, x, dims[0], vector)
    operands = [known for known in map(look, (x, *indices)) if known is not None]
    return unknown(made[0].dim(), operands) if operands else None


def _indexed(look: Look, made: Made, x: Tensor, dim: int, index: Tensor) -> Dependence | None:
    known, chosen = look(x), look(index)
    if known is None or chosen is not None:
        operands = [one for one in (known, chosen) if one is not None]
        return unknown(made[0].dim(), operands) if operands else None
    # An index may come twice, or not at all.
    known = spoiled(known, [dim % x.dim()], made[0].shape)
    return mapped(known, known.layout, dict.fromkeys(axes_in(known.layout[dim % x.dim()]), curtailed))


def embedding(look: Look, made: Made, weight: Tensor, indices: Tensor, *_: Any) -> Found:
    """A row for each index."""
    known = look(indices)
    found = known and inserted(known, indices.dim())
    return found if look(weight) is None else unknown(made[0].dim(), [one for one in (look(weight), found) if one])
