"""The output rule of every convolution. It refuses what aten/src/ATen/native/Convolution.cpp refuses."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from cnnprof.operators.shapes import FLOATS, META, Made, ShapeError, Size, by, refuse_values, refuse_window, unlike


def convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Size,
    padding: Size,
    dilation: Size,
    transposed: bool,
    output_padding: Size,
    groups: int,
) -> Made:
    """batch x out_channels x map, in any number of dimensions; contiguous for any input, as in torch's meta kernel."""
    shape, kernel = tuple(x.shape), tuple(weight.shape)  # to slice a torch.Size takes long
    dtype = x.dtype
    if dtype not in FLOATS or not x.is_meta or not weight.is_meta or len(shape) < 3 or 0 in shape:
        return None
    if weight.dtype is not dtype:
        raise ShapeError(unlike(x, weight, "weight"))
    arguments = shape, kernel, stride, padding, dilation, transposed, output_padding, groups
    try:
        sizes = _sizes(*arguments)
    except TypeError:  # the dispatcher gives lists, which cannot be looked up
        sizes = _sizes.__wrapped__(*arguments)
    if sizes is None:
        return None
    if bias is not None and bias.dtype is not dtype:
        raise ShapeError(unlike(x, bias, "bias"))
    if bias is not None and bias.shape != sizes[1:2]:
        raise ShapeError(f"the bias is {by(bias.shape)}, the output has {sizes[1]} channels")
    return torch.empty(*sizes, dtype=dtype, device=META)


@lru_cache(maxsize=4096)  # most convolutions of a deep network are as another
def _sizes(
    shape: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: Size,
    padding: Size,
    dilation: Size,
    transposed: bool,
    output_padding: Size,
    groups: int,
) -> tuple[int, ...] | None:
    """The shape of the output, from that of the input and that of the weight; None where the ranks do not agree."""
    rank = len(shape) - 2
    if len(padding) == len(output_padding) == 1 < rank:  # padding="valid"
        padding, output_padding = [*padding] * rank, [*output_padding] * rank
    if not len(kernel) - 2 == len(stride) == len(padding) == len(dilation) == len(output_padding) == rank:
        return None
    if transposed:
        channels, out_channels = kernel[0], kernel[1] * groups
        zipped = zip(shape[2:], kernel[2:], stride, padding, dilation, output_padding, strict=True)
        sizes = [(n - 1) * s - 2 * p + d * (k - 1) + e + 1 for n, k, s, p, d, e in zipped]
    else:
        channels, out_channels = kernel[1] * groups, kernel[0]
        maps = zip(shape[2:], kernel[2:], stride, padding, dilation, strict=True)
        sizes = [(n + 2 * p - d * (k - 1) - 1) // (s or 1) + 1 for n, k, s, p, d in maps]
    if channels != shape[1]:
        raise ShapeError(f"input has {shape[1]} channels, the weight takes {channels}")
    if groups < 1 or kernel[0] % groups:
        raise ShapeError(f"{kernel[0]} channels cannot be divided into {groups} groups")
    if transposed or min(*sizes, *stride, *dilation, *kernel) < 1 or min(padding) < 0:
        if transposed:
            _refuse_transposed(kernel[2:], stride, padding, dilation, output_padding)
        else:
            refuse_window(shape[2:], kernel[2:], stride, padding, dilation)
        if min(sizes) < 1 or not out_channels:
            raise ShapeError(f"output would be {by((out_channels, *sizes))}")
    return (shape[0], out_channels, *sizes)


def _refuse_transposed(kernel: Size, stride: Size, padding: Size, dilation: Size, output_padding: Size) -> None:
    """Raise ShapeError if an argument is impossible, or if there would be output that no kernel reaches."""
    refuse_values(kernel, stride, padding, dilation)
    if any(not 0 <= e < max(s, d) for e, s, d in zip(output_padding, stride, dilation, strict=True)):
        raise ShapeError(f"output padding {by(output_padding)} is not smaller than stride {by(stride)} or the dilation")
