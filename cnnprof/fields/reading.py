"""Rules of the operators that compute with elements, as in `viewing`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from typing import Any

from torch import Tensor

from cnnprof.fields.combining import blended, combined, contracted, regrouped, windowed
from cnnprof.fields.dependence import Dependence, spoiled, unknown
from cnnprof.fields.moving import dropped, single, sliced
from cnnprof.fields.reach import Reach, adaptive, nearest, transposed, window
from cnnprof.fields.viewing import Found, Look, Made


def elementwise(look: Look, made: Made, *args: Any, **kwargs: Any) -> Found:
    """Each output reads the elements at its own place; all outputs alike."""
    tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
    known = combined([(look(x), x.shape) for x in tensors], made[0].shape)
    return [known] * len(made)


def constant(look: Look, made: Made, *_: Any, **__: Any) -> Found:
    """Nothing of its arguments but their shapes."""
    return [None] * len(made)


def copied(look: Look, made: Made, x: Tensor, source: Any, *_: Any) -> Found:
    """What is overwritten depends on the source alone."""
    return combined([(look(source), source.shape)], x.shape) if isinstance(source, Tensor) else None


def glu(look: Look, made: Made, x: Tensor, dim: int = -1) -> Found:
    """Of the two halves of a dimension."""
    known = look(x)
    if known is None:
        return None
    place, half = dim % x.dim(), made[0].shape[dim]
    return combined([(sliced(known, x.shape, place, start, half), made[0].shape) for start in (0, half)], made[0].shape)


# sums


def contraction(known: Dependence | None, x: Tensor, dims: Sequence[int]) -> tuple[Dependence | None, list[int]]:
    """Everything along these dimensions together, and the shape with 1 for each of them."""
    places = {dim % x.dim() for dim in dims} if x.dim() else set()
    shape = [1 if place in places else size for place, size in enumerate(x.shape)]
    return known and contracted(known, x.shape, places), shape


def reduced(look: Look, made: Made, x: Tensor, dim: Any = None, *_: Any, **__: Any) -> Found:
    """Sums, means, extremes over dimensions, all of them if none is given; whether these are kept says the output."""
    return _reduced(look(x), made, x, dim)


def norm(look: Look, made: Made, x: Tensor, order: Any = 2, dim: Any = None, *_: Any, **__: Any) -> Found:
    """A vector norm over dimensions."""
    return _reduced(look(x), made, x, dim)


def _reduced(known: Dependence | None, made: Made, x: Tensor, dim: Any) -> Found:
    if known is None:
        return None
    dims: Sequence[int] = [dim] if isinstance(dim, int) else dim or range(x.dim())
    found, _ = contraction(known, x, dims)
    if found is not None and made[0].dim() < x.dim():
        found = dropped(found, {d % x.dim() for d in dims})
    return [found] * len(made)


def along(look: Look, made: Made, x: Tensor, dim: int = -1, *_: Any, **__: Any) -> Found:
    """Softmax, sorting: each output reads everything along a dimension, and the dimension stays."""
    return [contraction(look(x), x, [dim])[0]] * len(made)


def top_k(look: Look, made: Made, x: Tensor, k: int, dim: int = -1, *_: Any, **__: Any) -> Found:
    return [contraction(look(x), x, [dim])[0]] * len(made)


def cumulative(look: Look, made: Made, x: Tensor, dim: int, *_: Any, **__: Any) -> Found:
    """Each output reads what stands before it along a dimension."""
    known = look(x)
    if known is None or not x.dim():
        return [known] * len(made)
    place = dim % x.dim()
    known = regrouped(known, place, [range(index + 1) for index in range(x.shape[place])])
    return [spoiled(known, [place], x.shape) if known.layout[place] is not None else known] * len(made)


def matmul(look: Look, made: Made, x: Tensor, y: Tensor, *_: Any, **__: Any) -> Found:
    """Of two matrices or two batches of them."""
    return _matmul(look, made, x, y)


def added_matmul(look: Look, made: Made, bias: Tensor, x: Tensor, y: Tensor, *_: Any, **__: Any) -> Found:
    """A summand that broadcasts, and the product of two matrices or batches of them."""
    product = _matmul(look, made, x, y)
    return combined([(look(bias), bias.shape), (product, made[0].shape)], made[0].shape)


def _matmul(look: Look, made: Made, x: Tensor, y: Tensor) -> Dependence | None:
    return combined([contraction(look(x), x, [-1]), contraction(look(y), y, [-2])], made[0].shape)


def attention(look: Look, made: Made, q: Tensor, k: Tensor, v: Tensor, *_: Any, **__: Any) -> Found:
    """Of batch x heads x length x size each: a query reads all keys and all values."""
    parts = [contraction(look(q), q, [-1]), contraction(look(k), k, [-1, -2]), contraction(look(v), v, [-2])]
    return combined(parts, made[0].shape)


# normalisation


def batch_norm(
    look: Look, made: Made, x: Tensor, weight: Any, bias: Any, mean: Any, variance: Any, training: bool, *_: Any
) -> Found:
    """By stored statistics element by element, by those of the batch from everything but the channel."""
    known = look(x)
    if known is None:
        return None
    if training:
        known = contracted(known, x.shape, [dim for dim in range(x.dim()) if dim != 1])
    return blended(known, map(look, (weight, bias, mean, variance)))


def layer_norm(look: Look, made: Made, x: Tensor, normalized: Sequence[int], *parameters: Any) -> Found:
    """By statistics over the last dimensions."""
    known, _ = contraction(look(x), x, range(x.dim() - len(normalized), x.dim()))
    return known and blended(known, map(look, parameters))


def group_norm(
    look: Look, made: Made, x: Tensor, weight: Any, bias: Any, batch: int, channels: int, pixels: int, groups: int, eps: float
) -> Found:
    """By statistics over all pixels of a group of channels."""
    known, _ = contraction(look(x), x, range(2, x.dim()))
    if known is None:
        return None
    return blended(_channels(known, x.shape, groups, channels), map(look, (weight, bias)))


def _channels(x: Dependence, shape: Sequence[int], groups: int, outputs: int) -> Dependence:
    """With the channels, dimension 1 of a tensor of that shape, read in groups to make so many."""
    if groups == 1:
        return contracted(x, shape, [1])
    if x.layout[1] is not None:
        return spoiled(x, [1], [outputs if place == 1 else size for place, size in enumerate(shape)])
    takes, makes = shape[1] // groups, outputs // groups
    return regrouped(x, 1, [range(c // makes * takes, (c // makes + 1) * takes) for c in range(outputs)])


# windows


def convolution(
    look: Look,
    made: Made,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    is_transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Found:
    known = look(x)
    of_weight, of_bias = look(weight), look(bias)
    if known is None:
        others = list(filter(None, (of_weight, of_bias)))
        return unknown(made[0].dim(), others) if others else None
    if known.labels is not None or known.layout[1] is not None:
        known = _channels(known, x.shape, groups, made[0].shape[1])
    kernel = tuple(weight.shape)[2:]
    if max(kernel) == max(stride) == 1 and not any(padding):
        found = known  # each position reads itself
    else:
        rank = len(kernel)
        if not len(stride) == len(padding) == len(dilation) == rank:  # padding="valid" is [0]
            stride, padding, dilation = ([*given] * (rank // len(given)) for given in (stride, padding, dilation))
        sizes = zip(kernel, stride, padding, dilation, strict=True)
        found = windowed(known, x, made[0], transposed if is_transposed else window, sizes)
    return blended(found, (of_weight, of_bias))


def pool(rank: int) -> Callable[..., Found]:
    """The rule of pooling in that many dimensions."""

    def max_pool(
        look: Look,
        made: Made,
        x: Tensor,
        kernel: Sequence[int],
        stride: Sequence[int] = (),
        padding: Sequence[int] = (0,),
        dilation: Any = (1,),
        *_: Any,
        **__: Any,
    ) -> Found:
        known = look(x)
        if known is None:
            return None
        each = [_each(sizes, rank) for sizes in (kernel, stride or kernel, padding, dilation)]

        def reads(place: int) -> list[list[int]]:
            size, step, pad, apart = (sizes[place - x.dim()] for sizes in each)
            starts = [index * step - pad for index in range(made[0].shape[place])]
            windows = [range(start, start + size * apart, apart) for start in starts]
            return [[tap for tap in window if 0 <= tap < x.shape[place]] for window in windows]

        # The indices that a max pool returns too depend on the same pixels.
        return [windowed(known, x, made[0], window, zip(*each, strict=True), reads)] * len(made)

    return max_pool


def avg_pool(rank: int) -> Callable[..., Found]:
    """The same without dilation: what stands in its place is the rounding of sizes."""
    rule = pool(rank)

    def output(look: Look, made: Made, x: Tensor, kernel: Any, stride: Any = (), padding: Any = (0,), *_: Any, **__: Any) -> Found:
        return rule(look, made, x, kernel, stride, padding)

    return output


def _each(sizes: Sequence[int], rank: int) -> tuple[int, ...]:
    """A size for each dimension, where one stands for all."""
    return tuple(sizes) * rank if len(sizes) == 1 else tuple(sizes)


def adaptive_pool(look: Look, made: Made, x: Tensor, size: Sequence[int]) -> Found:
    """To a size; to a single position it is global."""
    known = look(x)
    if known is None:
        return None
    places = range(x.dim() - len(size), x.dim())
    known = contracted(known, x.shape, [place for place in places if made[0].shape[place] == 1])
    sizes = [(x.shape[place], made[0].shape[place]) for place in places]
    return [windowed(known, x, made[0], adaptive, sizes)] * len(made)


# resizing


def _ratio(given: int, wanted: int, scale: float | None, aligned: bool) -> Fraction | None:
    """Input positions per output; None where it is no simple number. torch uses the scale that the user gave, if he did."""
    if aligned:
        return Fraction(given - 1, wanted - 1) if wanted > 1 else Fraction(0)
    if scale is None or given * scale == wanted:
        return Fraction(given, wanted)
    ratio = Fraction(1 / scale).limit_denominator(64)
    return ratio if abs(ratio - Fraction(1 / scale)) < Fraction(1, 10**9) else None


def _resized(
    known: Dependence | None, made: Made, x: Tensor, scales: Sequence[Any], aligned: bool, step: Callable[..., Reach]
) -> Found:
    if known is None:
        return None
    ratios = []
    for place, scale in enumerate(scales, x.dim() - len(scales)):
        ratio = _ratio(x.shape[place], made[0].shape[place], scale, aligned)
        if ratio is None:
            known = spoiled(known, [place], made[0].shape)
        elif ratio == 0:  # corners on corners, and one side has but one
            known = single(sliced(known, x.shape, place, 0, 1), place)
        ratios.append((ratio or Fraction(1),))
    return windowed(known, x, made[0], step, ratios)


def nearest_of(exact: bool) -> Callable[..., Found]:
    def rule(look: Look, made: Made, x: Tensor, size: Sequence[int], *scales: Any) -> Found:
        given = scales or (None,) * len(size)
        return _resized(look(x), made, x, given, False, partial(nearest, exact=exact))

    return rule


def interpolated(step: Callable[..., Reach]) -> Callable[..., Found]:
    """The rule of a kind of interpolation."""

    def rule(look: Look, made: Made, x: Tensor, size: Sequence[int], aligned: bool, *scales: Any) -> Found:
        given = scales or (None,) * len(size)
        return _resized(look(x), made, x, given, aligned, partial(step, aligned=aligned))

    return rule
