"""Product rules: the scalar multiplications that an operator costs, as terms, from its arguments and its output.

A term is a tuple of factors in the order of a textbook: what one output element is, then what it sums over. A batch of
1 in front is left out: 32·24²·1·5² is `(32, 24, 24, 1, 5, 5)`. Bias additions cost none. The count is that of the
direct algorithm, as in `torch.utils.flop_counter`, twice whose numbers these are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from torch import Tensor

from cnnprof.profiling.profile import Term

Args = Sequence[Any]
Kwargs = Mapping[str, Any]


def term(batch: int, *factors: int) -> Term:
    """The term without a batch of 1."""
    return factors if batch == 1 else (batch, *factors)


# matrix products: aten gives them as (x, y), or with a summand in front


def mm(args: Args, kwargs: Kwargs, out: Any) -> tuple[Term, ...]:
    """rows x columns x inner."""
    return _mm(args[0], args[1])


def addmm(args: Args, kwargs: Kwargs, out: Any) -> tuple[Term, ...]:
    """rows x columns x inner."""
    return _mm(args[1], args[2])


def bmm(args: Args, kwargs: Kwargs, out: Any) -> tuple[Term, ...]:
    """batch x rows x columns x inner."""
    return _bmm(args[0], args[1])


def baddbmm(args: Args, kwargs: Kwargs, out: Any) -> tuple[Term, ...]:
    """batch x rows x columns x inner."""
    return _bmm(args[1], args[2])


def mv(args: Args, kwargs: Kwargs, out: Any) -> tuple[Term, ...]:
    """The sizes of the matrix, or of a vector times a vector: each of its elements meets one of the other."""
    return (tuple(args[0].shape),)


def addmv(args: Args, kwargs: Kwargs, out: Any) -> tuple[Term, ...]:
    """The sizes of the matrix."""
    return (tuple(args[1].shape),)


def addr(args: Args, kwargs: Kwargs, out: Any) -> tuple[Term, ...]:
    """rows x columns of the outer product."""
    return ((args[1].shape[0], args[2].shape[0]),)


def trilinear(args: Args, kwargs: Kwargs, out: Any) -> tuple[Term, ...]:
    """Two contractions, as nn.Bilinear is computed: of the first two factors, then of their product with the third.

    Each of the three tensors is expanded by new dimensions; `summed` counts in the expanded ones.
    """
    tensors, expands, summed = args[:3], [set(axes) for axes in args[3:6]], set(args[6])
    sizes: dict[int, int] = {}
    for tensor, new in zip(tensors, expands, strict=True):
        kept = [axis for axis in range(tensor.dim() + len(new)) if axis not in new]
        sizes.update(zip(kept, tensor.shape, strict=True))
    early = summed & expands[2]
    first = [axis for axis in sizes if axis not in expands[0] & expands[1]]
    second = [axis for axis in sizes if axis not in early]
    return tuple(tuple(sizes[axis] for axis in sorted(axes)) for axes in (first, second))


def affine_grid(args: Args, kwargs: Kwargs, out: Any) -> tuple[Term, ...]:
    """Each point of the grid times the matrix: points x rows x columns."""
    batch, rows, columns = args[0].shape
    return (term(batch, *args[1][2:], rows, columns),)


def _mm(x: Tensor, y: Tensor) -> tuple[Term, ...]:
    return (term(x.shape[0], y.shape[1], x.shape[1]),)


def _bmm(x: Tensor, y: Tensor) -> tuple[Term, ...]:
    batch, rows, inner = x.shape
    return (term(batch, rows, y.shape[2], inner),)


# convolutions


def convolution(args: Args, kwargs: Kwargs, out: Tensor) -> tuple[Term, ...]:
    """batch x out_channels x output map x in_channels / groups x kernel; transposed: by input elements, see below."""
    if args[6]:
        return transposed_convolution(args, kwargs, out)
    return direct_convolution(args, kwargs, out)


def direct_convolution(args: Args, kwargs: Kwargs, out: Tensor) -> tuple[Term, ...]:
    """batch x out_channels x output map x in_channels / groups x kernel, of (x, weight, …)."""
    return _direct_convolution(out.shape, args[1].shape)


@lru_cache(maxsize=4096)  # most convolutions of a deep network are as another
def _direct_convolution(out: Sequence[int], weight: Sequence[int]) -> tuple[Term, ...]:
    return (term(*out, *weight[1:]),)


def transposed_convolution(args: Args, kwargs: Kwargs, out: Tensor) -> tuple[Term, ...]:
    """batch x in_channels x input map x out_channels / groups x kernel: an input element meets each weight once."""
    return (term(*args[0].shape, *args[1].shape[1:]),)


def convolution_backward(args: Args, kwargs: Kwargs, out: Any) -> tuple[Term, ...]:
    """The products of the forward pass once for the gradient of the input and once for that of the weight.

    Each product of the forward pass occurs once in each of them. torch's counter forgets the groups in that of the
    weight.
    """
    grad, x, weight, _, _, _, _, transposed, _, _, wanted = args[:11]
    one = term(*(x if transposed else grad).shape, *weight.shape[1:])
    return (one,) * (bool(wanted[0]) + bool(wanted[1]))


def conv_tbc(args: Args, kwargs: Kwargs, out: Tensor) -> tuple[Term, ...]:
    """batch x out_channels x time x in_channels x kernel, of time x batch x channels."""
    time, batch, out_channels = out.shape
    width, in_channels, _ = args[1].shape
    return (term(batch, out_channels, time, in_channels, width),)


# attention


def attention(args: Args, kwargs: Kwargs, out: Any) -> tuple[Term, ...]:
    """q·kᵀ and scores·v, of (q, k, v): batch x heads x length x size each. A mask saves none, as in torch's counter."""
    return _attention(*(tuple(x.shape) for x in args[:3]))


def attention_backward(args: Args, kwargs: Kwargs, out: Any) -> tuple[Term, ...]:
    """Five products, the scores being computed again, of (gradient, q, k, v)."""
    return _attention_backward(*(tuple(x.shape) for x in args[1:4]))


def flex_attention_backward(args: Args, kwargs: Kwargs, out: Any) -> tuple[Term, ...]:
    """Five products, of (q, k, v)."""
    return _attention_backward(*(tuple(x.shape) for x in args[:3]))


def flash_attention(args: Args, kwargs: Kwargs, out: Any) -> tuple[Term, ...]:
    """As `attention`, of (q, k, v, starts of q, starts of k, longest q, longest k), batch x length x heads x size."""
    return _attention(*_heads_first(args[:3], *args[3:7]))


def flash_attention_backward(args: Args, kwargs: Kwargs, out: Any) -> tuple[Term, ...]:
    """As `attention_backward`, of (gradient, q, k, v, output, logsumexp, starts of q, …)."""
    return _attention_backward(*_heads_first(args[1:4], *args[6:10]))


def efficient_attention(args: Args, kwargs: Kwargs, out: Any) -> tuple[Term, ...]:
    """As `flash_attention`, with a bias after v."""
    return _attention(*_heads_first(args[:3], *args[4:8]))


def efficient_attention_backward(args: Args, kwargs: Kwargs, out: Any) -> tuple[Term, ...]:
    """As `attention_backward`, of (gradient, q, k, v, bias, output, starts of q, …)."""
    return _attention_backward(*_heads_first(args[1:4], *args[6:10]))


def _heads_first(
    tensors: Sequence[Tensor], starts_q: Tensor | None, starts_k: Tensor | None, longest_q: int, longest_k: int
) -> list[tuple[int, ...]]:
    """The shapes of q, k and v as batch x heads x length x size.

    Where sequences are packed one after the other, their lengths are data. Then each counts as the longest, as in
    torch's counter.
    """
    shapes = [tuple(x.shape) for x in tensors]
    if starts_q is None or starts_k is None:
        return [(batch, heads, length, size) for batch, length, heads, size in shapes]
    lengths = (longest_q, longest_k, longest_k)
    sequences = starts_q.shape[0] - 1
    return [(sequences, *shape[-2:-1], length, shape[-1]) for shape, length in zip(shapes, lengths, strict=True)]


def _attention(q: Sequence[int], k: Sequence[int], v: Sequence[int]) -> tuple[Term, ...]:
    batch, heads, queries, size = q
    return term(batch, heads, queries, k[2], size), term(batch, heads, queries, v[3], k[2])


def _attention_backward(q: Sequence[int], k: Sequence[int], v: Sequence[int]) -> tuple[Term, ...]:
    batch, heads, queries, size = q
    keys, values = k[2], v[3]
    return (
        term(batch, heads, queries, keys, size),
        term(batch, heads, queries, keys, values),
        term(batch, heads, keys, values, queries),
        term(batch, heads, queries, size, keys),
        term(batch, heads, keys, size, queries),
    )


def self_attention(args: Args, kwargs: Kwargs, out: Any) -> tuple[Term, ...]:
    """nn.MultiheadAttention in one kernel, of (q, k, v, size, heads, …)."""
    q, k, v, size, heads = args[:5]
    batch, queries, _ = q.shape
    keys = k.shape[1]
    shapes = [(batch, heads, length, size // heads) for length in (queries, keys, keys)]
    linear = [term(batch, length, size, x.shape[2]) for x, length in ((q, queries), (k, keys), (v, keys), (q, queries))]
    return (*linear[:3], *_attention(*shapes), linear[3])


def encoder_layer(args: Args, kwargs: Kwargs, out: Any) -> tuple[Term, ...]:
    """nn.TransformerEncoderLayer in one kernel: self-attention, then the two linear maps `args[14]` and `args[16]`."""
    x, size, heads = args[:3]
    batch, length, _ = x.shape
    maps = (term(batch, length, *args[i].shape) for i in (14, 16))
    return (*self_attention((x, x, x, size, heads), kwargs, out), *maps)


# recurrent layers


def recurrent_layer(args: Args, kwargs: Kwargs, out: Any) -> tuple[Term, ...]:
    """Each element of the sequence times the weights of the input and of the state, of (x, weight, weight, …)."""
    steps = math.prod(args[0].shape[:2])
    return tuple(term(steps, *weight.shape) for weight in args[1:3])
