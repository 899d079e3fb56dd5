"""Output rules of the operators that slide a window over a map or resize it: pools, paddings, interpolation, folding.

Their arithmetic, and what they refuse, is that of aten/src/ATen/native/Pool.h.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from cnnprof.operators.shapes import (
    META,
    Made,
    Number,
    Several,
    ShapeError,
    Size,
    by,
    empty,
    floating,
    ordered,
    refuse_values,
    refuse_window,
)


def max_pool(rank: int) -> Callable[..., Several]:
    """The rule of max pooling in that many dimensions: the values and their int64 indices."""

    def output(
        x: Tensor, kernel: Size, stride: Size = (), padding: Size = (0,), dilation: Size = (1,), ceil_mode: bool = False
    ) -> Several:
        if not _map(x, rank):
            return None
        kernel = _each(kernel, rank)
        shape = _pooled(x, kernel, _each(stride, rank) or kernel, _each(padding, rank), _each(dilation, rank), ceil_mode)
        return empty(shape, x), torch.empty(shape, dtype=torch.int64, device=META)

    return output


def avg_pool(rank: int) -> Callable[..., Made]:
    """The rule of average pooling in that many dimensions."""

    def output(
        x: Tensor,
        kernel: Size,
        stride: Size = (),
        padding: Size = (0,),
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Made:
        if not _map(x, rank) or divisor_override == 0:
            return None
        kernel = _each(kernel, rank)
        shape = _pooled(x, kernel, _each(stride, rank) or kernel, _each(padding, rank), (1,) * rank, ceil_mode)
        if rank == 3:  # here torch does not count the padding
            refuse_window(x.shape[-3:], kernel, kernel, (0, 0, 0), (1, 1, 1))
        return empty(shape, x)

    return output


def adaptive_avg_pool(rank: int) -> Callable[..., Made]:
    """The rule of average pooling to a size."""

    def output(x: Tensor, size: Size) -> Made:
        return empty([*x.shape[:-rank], *size], x) if _map(x, rank) and _all_positive(size, rank) else None

    return output


def adaptive_max_pool(rank: int) -> Callable[..., Several]:
    """The rule of max pooling to a size: the values and their int64 indices."""

    def output(x: Tensor, size: Size) -> Several:
        if not _map(x, rank) or not _all_positive(size, rank):
            return None
        shape = [*x.shape[:-rank], *size]
        return empty(shape, x), torch.empty(shape, dtype=torch.int64, device=META)

    return output


def fractional_max_pool(rank: int) -> Callable[..., Several]:
    """The rule of max pooling to a size, in windows at random places: the values and their int64 indices."""

    def output(x: Tensor, kernel: Size, size: Size, samples: Tensor) -> Several:
        if not _map(x, rank) or not _all_positive(size, rank) or not _all_positive(kernel, rank):
            return None
        if samples.shape != (x.shape[0] if x.dim() > rank + 1 else 1, x.shape[-rank - 1], rank) or samples.dtype is not x.dtype:
            return None
        spare = rank - 2  # in three dimensions torch wants one pixel more
        if any(out + k - 1 + spare > n for n, k, out in zip(x.shape[-rank:], kernel, size, strict=True)):
            raise ShapeError(f"windows of {by(kernel)} do not fit a map of {by(x.shape[-rank:])} at {by(size)} places")
        shape = [*x.shape[:-rank], *size]
        return empty(shape, x), torch.empty(shape, dtype=torch.int64, device=META)

    return output


def reflection_pad(rank: int) -> Callable[..., Made]:
    """The rule of padding with the map in a mirror, which has to be larger than the padding."""

    def output(x: Tensor, padding: Size) -> Made:
        if not _map(x, rank) or len(padding) != 2 * rank or min(padding) < 0:
            return None
        for axis, size in enumerate(reversed(x.shape[-rank:])):
            if max(padding[2 * axis : 2 * axis + 2]) >= size:
                raise ShapeError(f"reflection padding {max(padding)} is not smaller than the map {by(x.shape[-rank:])}")
        return _padded(x, padding)

    return output


def replication_pad(rank: int) -> Callable[..., Made]:
    """The rule of padding with the values at the border."""

    def output(x: Tensor, padding: Size) -> Made:
        return _padded(x, padding) if _map(x, rank) and len(padding) == 2 * rank and min(padding) >= 0 else None

    return output


def _padded(x: Tensor, padding: Size) -> Tensor:
    """`padding` names the last dimension first."""
    shape = list(x.shape)
    for axis in range(len(padding) // 2):
        shape[-1 - axis] += padding[2 * axis] + padding[2 * axis + 1]
    return empty(shape, x)


def resized(rank: int) -> Callable[..., Made]:
    """The rule of every kind of interpolation to a size."""

    def output(x: Tensor, size: Size, *_: bool | Number | None) -> Made:
        if not _map(x, rank) or x.dim() != rank + 2 or len(size) != rank:
            return None
        if min(size) < 1:
            raise ShapeError(f"output would be {by((*x.shape[1:-rank], *size))}")
        return empty([*x.shape[:2], *size], x)

    return output


def im2col(x: Tensor, kernel: Size, dilation: Size, padding: Size, stride: Size) -> Made:
    """batch x the elements of a window x the number of windows."""
    if not floating(x) or x.dim() not in (3, 4) or 0 in x.shape:
        return None
    if any(len(sizes) != 2 for sizes in (kernel, dilation, padding, stride)):
        return None
    windows = math.prod(_windows(x.shape[-2:], kernel, dilation, padding, stride))
    return _resized([*x.shape[:-3], x.shape[-3] * math.prod(kernel), windows], x)


def col2im(x: Tensor, size: Size, kernel: Size, dilation: Size, padding: Size, stride: Size) -> Made:
    """The map of that size whose windows are in `x`, as `im2col` returns them."""
    if not floating(x) or x.dim() not in (2, 3) or 0 in x.shape:
        return None
    if any(len(sizes) != 2 for sizes in (size, kernel, dilation, padding, stride)):
        return None
    windows = math.prod(_windows(size, kernel, dilation, padding, stride))
    *batch, elements, count = x.shape
    if count != windows:
        raise ShapeError(f"a map of {by(size)} has {windows} windows of {by(kernel)}, the input {count}")
    if elements % math.prod(kernel):
        raise ShapeError(f"{elements} channels cannot be divided among windows of {by(kernel)}")
    return _resized([*batch, elements // math.prod(kernel), *size], x)


def _resized(shape: Size, x: Tensor) -> Tensor:
    """A contiguous tensor of that shape with room for `x`: torch makes it like `x` and resizes it, which shrinks no storage."""
    made = empty(shape, x)
    return made if made.numel() >= x.numel() else empty([x.numel()], x).as_strided(made.shape, made.stride())


def _map(x: Tensor, rank: int) -> bool:
    """Whether it has channels and that many dimensions of pixels, with or without a batch."""
    return floating(x) and ordered(x) and rank + 1 <= x.dim() <= rank + 2 and 0 not in x.shape


def _all_positive(sizes: Size, rank: int) -> bool:
    return len(sizes) == rank and min(sizes) > 0


def _each(values: Size, rank: int) -> Size:
    """A value for each dimension, where one stands for all."""
    return tuple(values) * rank if len(values) == 1 else values


def _windows(sizes: Size, kernel: Size, dilation: Size, padding: Size, stride: Size) -> list[int]:
    """How many windows fit along each dimension."""
    refuse_window(sizes, kernel, stride, padding, dilation)
    return [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, d, p, s in zip(sizes, kernel, dilation, padding, stride, strict=True)]


def _pooled(x: Tensor, kernel: Size, stride: Size, padding: Size, dilation: Size, ceil_mode: bool) -> list[int]:
    """The shape after pooling. In ceil mode the last window may start in the map and end outside of it."""
    rank = len(kernel)
    sizes = x.shape[-rank:]
    refuse_values(kernel, stride, padding, dilation)
    if any(p > k // 2 for p, k in zip(padding, kernel, strict=True)):
        raise ShapeError(f"padding {by(padding)} is more than half of the kernel {by(kernel)}")
    out = []
    for n, k, s, p, d in zip(sizes, kernel, stride, padding, dilation, strict=True):
        size = (n + 2 * p - d * (k - 1) - 1 + (s - 1 if ceil_mode else 0)) // s + 1
        out.append(size - 1 if ceil_mode and (size - 1) * s >= n + p else size)
    if min(out) < 1:
        refuse_window(sizes, kernel, stride, padding, dilation)
        raise ShapeError(f"output would be {by((*x.shape[-rank - 1 : -rank], *out))}")
    return [*x.shape[:-rank], *out]
