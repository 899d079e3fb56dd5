"""Output rules of the operators that make tensors, join them or move their elements about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cnnprof.operators.shapes import META, Made, ShapeError, Size, by, copied, empty, floating, ordered, pair


def created(size: Size, *, device: torch.device | None = None, dtype: torch.dtype | None = None, **options: Any) -> Made:
    """A tensor of that size, whatever is in it."""
    if device is None or device.type != "meta" or any(options.values()):
        return None
    return torch.empty(size, dtype=dtype, device=META)


def created_like(x: Tensor, *, memory_format: torch.memory_format | None = None, **options: Any) -> Made:
    """A tensor of the size and dtype of `x`, in its layout unless told otherwise."""
    if not x.is_meta or any(options.values()) or memory_format not in (None, torch.preserve_format, torch.contiguous_format):
        return None
    return empty(x.shape, x) if memory_format is torch.contiguous_format else copied(x)


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Made:
    """The sum of their sizes along one dimension; all other sizes have to agree."""
    first = tensors[0]
    rank = first.dim()
    if not -rank <= dim < rank:
        return None
    shape = list(first.shape)
    shape[dim] = 0
    for x in tensors:
        size = list(x.shape)
        if not floating(x) or x.dtype is not first.dtype or not ordered(x) or 0 in size:
            return None
        if len(size) == rank:
            shape[dim] += size[dim]
            size[dim] = shape[dim]
        if size != shape:
            raise ShapeError("cannot concatenate {} and {}".format(*pair(first.shape, x.shape)))
    return empty(shape, first)


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Made:
    """The shape that they share, with a new dimension that counts them."""
    first = tensors[0]
    rank = first.dim() + 1
    if not -rank <= dim < rank or not all(floating(x) and x.dtype is first.dtype and ordered(x) for x in tensors):
        return None
    for x in tensors:
        if x.shape != first.shape:
            raise ShapeError("cannot stack {} and {}".format(*pair(first.shape, x.shape)))
    shape = list(first.shape)
    shape.insert(dim % rank, len(tensors))
    return empty(shape, first)


def repeat(x: Tensor, repeats: Size) -> Made:
    """Every size times its number of repeats; repeats without a size are new dimensions in front."""
    missing = len(repeats) - x.dim()
    if not floating(x) or missing < 0 or any(n < 1 for n in repeats):
        return None
    return empty([n * size for n, size in zip(repeats, [1] * missing + list(x.shape), strict=True)], x)


def pixel_shuffle(x: Tensor, factor: int) -> Made:
    """Channels to pixels: 4x8x8 by 2 is 1x16x16."""
    if not _map(x) or factor < 1:
        return None
    *batch, channels, height, width = x.shape
    if channels % factor**2:
        raise ShapeError(f"{channels} channels cannot be divided among {by((factor, factor))} pixels")
    return empty([*batch, channels // factor**2, height * factor, width * factor], x)


def pixel_unshuffle(x: Tensor, factor: int) -> Made:
    """Pixels to channels: 1x16x16 by 2 is 4x8x8."""
    if not _map(x) or factor < 1:
        return None
    *batch, channels, height, width = x.shape
    if height % factor or width % factor:
        raise ShapeError(f"a map of {by((height, width))} cannot be cut into pieces of {by((factor, factor))}")
    return empty([*batch, channels * factor**2, height // factor, width // factor], x)


def channel_shuffle(x: Tensor, groups: int) -> Made:
    """The shape of `x`."""
    if not _map(x) or groups < 1:
        return None
    if x.shape[1] % groups:
        raise ShapeError(f"{x.shape[1]} channels cannot be divided into {groups} groups")
    return empty(x.shape, x)


def embedding(weight: Tensor, indices: Tensor, *_: object) -> Made:
    """A row of the table for each index."""
    if not floating(weight) or weight.dim() != 2 or not indices.is_meta or not ordered(indices):
        return None
    if indices.dtype not in (torch.int64, torch.int32):
        return None
    return empty([*indices.shape, weight.shape[1]], weight)


def _map(x: Tensor) -> bool:
    return floating(x) and ordered(x) and x.dim() > 2 and 0 not in x.shape
