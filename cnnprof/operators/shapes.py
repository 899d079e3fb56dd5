"""What the output rules share. They make what operators return, on the meta device and without torch's kernels.

On meta the first `relu`, `add` or `batch_norm` of torch imports its compiler (a second, 80 MB), and each call takes 20
to 1,000 microseconds. A rule takes one or two and imports nothing. It receives the operator's own arguments and returns
the new tensor with the shape, dtype and strides that torch's meta kernel gives it; an operator in place returns its
argument. What a rule is not made for (integers, other devices, rare options) it answers with None: then torch's kernel
runs, and refuses what there is to refuse. What users do meet, a rule refuses itself with a `ShapeError`, in a line that
they understand.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from cnnprof.errors import CnnprofError

Size: TypeAlias = Sequence[int]
Number: TypeAlias = "int | float"
Made: TypeAlias = "Tensor | None"
"""The output of an operator; None where torch has to make it."""
Several: TypeAlias = "tuple[Tensor, ...] | None"
"""The same for an operator with several outputs."""

META = torch.device("meta")
FLOATS = frozenset({torch.float32, torch.float16, torch.bfloat16, torch.float64})


class ShapeError(CnnprofError, RuntimeError, ValueError):
    """Tensors that an operator cannot take, said in one short line without a place: whoever knows the layer adds it.

    Torch raises a RuntimeError, and there are networks that catch it.
    """


def by(sizes: Iterable[int]) -> str:
    """The sizes as they are printed everywhere, `64x55x55`."""
    return "x".join(map(str, sizes)) or "a scalar"


def pair(one: Size, other: Size) -> tuple[str, str]:
    """Both shapes as text: without the batch dimension, where they have one and agree on it."""
    if len(one) > 1 and len(other) > 1 and one[0] == other[0]:
        return by(one[1:]), by(other[1:])
    return by(one), by(other)


def unlike(x: Tensor, other: Tensor, name: str) -> str:
    """Says that the input and another tensor are not of one dtype: "input is float32, the weight is float16"."""
    return f"input is {str(x.dtype)[6:]}, the {name} is {str(other.dtype)[6:]}"


def floating(x: Tensor) -> bool:
    """Whether it is a meta tensor of real numbers, which is what every rule is made for."""
    return x.dtype in FLOATS and x.is_meta


def ordered(x: Tensor) -> bool:
    """Whether its dimensions lie in memory in their own order, gaps allowed: torch then makes a contiguous output."""
    return x.is_contiguous() or _nested(zip(reversed(x.stride()), reversed(x.shape), strict=True))


def distinct(x: Tensor) -> bool:
    """Whether each element has a place of its own in memory: torch refuses to write where that is not so."""
    return x.is_contiguous() or _nested(sorted(zip(x.stride(), x.shape, strict=True)))


def _nested(dimensions: Iterable[tuple[int, int]]) -> bool:
    """Whether each dimension, of a stride and a size, steps over all that the ones before it reach."""
    reach = 1
    for stride, size in dimensions:
        if size != 1:
            if stride < reach:
                return False
            reach = stride * size
    return True


def empty(shape: Size, like: Tensor) -> Tensor:
    """A new contiguous meta tensor with the dtype of `like`."""
    if not shape:
        return torch.empty((), dtype=like.dtype, device=META)
    return torch.empty(*shape, dtype=like.dtype, device=META)  # torch takes longer to read a tuple


def refuse_values(kernel: Size, stride: Size, padding: Size, dilation: Size) -> None:
    """Raise ShapeError if one of them is no size, stride, padding or dilation at all."""
    for name, values in (("kernel", kernel), ("stride", stride), ("dilation", dilation)):
        if min(values) < 1:
            raise ShapeError(f"{name} {by(values)} is not positive")
    if min(padding) < 0:
        raise ShapeError(f"padding {by(padding)} is negative")


def refuse_window(sizes: Size, kernel: Size, stride: Size, padding: Size, dilation: Size) -> None:
    """Raise ShapeError, with the reason, if no such window fits a map of those sizes."""
    refuse_values(kernel, stride, padding, dilation)
    padded = [n + 2 * p for n, p in zip(sizes, padding, strict=True)]
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    if any(span > n for span, n in zip(spans, padded, strict=True)):
        dilated = f" spans {by(spans)} with its dilation and" if spans != list(kernel) else ""
        of = "padded map" if any(padding) else "map"
        raise ShapeError(f"kernel {by(kernel)}{dilated} is larger than the {of} {by(padded)}")


def copied(x: Tensor) -> Tensor:
    """A new tensor of the shape and dtype of `x`, without gaps, in the order of its dimensions in memory."""
    return x.clone() if x.is_contiguous() else strided(x.shape, x)  # the clone of a slice imports sympy


def broadcast(one: Size, other: Size, verb: str) -> Size:
    """The common shape of two tensors. Raises ShapeError, "cannot add 64x56x56 and 128x28x28", where there is none."""
    short, long = sorted((one, other), key=len)
    shape = list(long)
    for axis in range(-len(short), 0):
        size = short[axis]
        if size != shape[axis]:
            if shape[axis] == 1:
                shape[axis] = size
            elif size != 1:
                raise ShapeError("cannot {} {} and {}".format(verb, *pair(one, other)))
    return shape


def strided(shape: Size, *operands: Tensor) -> Tensor:
    """A new tensor whose dimensions lie in memory as those of the operands do, the first one that has an order decides.

    This is the permutation of TensorIterator (`reorder_dimensions`) and of torch's Python references.
    """
    if 0 in shape:
        return empty(shape, operands[0])
    strides = [expanded(operand, shape) for operand in operands]
    inner_first = list(range(len(shape)))[::-1]
    for i in range(1, len(shape)):
        at = i
        for before in range(i - 1, -1, -1):
            outer = _lies_outside(inner_first[before], inner_first[at], strides, shape)
            if outer is None:
                continue
            if not outer:
                break
            inner_first[before], inner_first[at] = inner_first[at], inner_first[before]
            at = before
    result, step = [0] * len(shape), 1
    for axis in inner_first:
        result[axis] = step
        step *= shape[axis]
    return torch.empty_strided(tuple(shape), tuple(result), dtype=operands[0].dtype, device=META)


def expanded(x: Tensor, shape: Size) -> list[int]:
    """The strides of `x` broadcast to `shape`: 0 where it repeats."""
    missing = len(shape) - x.dim()
    own = [0 if size == 1 and shape[missing + i] != 1 else x.stride(i) for i, size in enumerate(x.shape)]
    return [0] * missing + own


def _lies_outside(a: int, b: int, strides: Sequence[Size], shape: Size) -> bool | None:
    """Whether dimension `a` lies outside `b` in memory; None where no operand says so."""
    for stride in strides:
        if stride[a] == 0 or stride[b] == 0 or (stride[a] == stride[b] and shape[a] <= shape[b]):
            continue
        return stride[a] >= stride[b]
    return None
