"""Output rules of the operators that sum over a dimension: matrix products, means, softmax, norms."""

from __future__ import annotations

import torch
from torch import Tensor

from cnnprof.operators.shapes import FLOATS, META, Made, Several, ShapeError, Size, by, empty, floating, ordered, pair, unlike


def addmm(bias: Tensor, x: Tensor, weight: Tensor, *, beta: float = 1, alpha: float = 1) -> Made:
    """rows x out_features, of x: rows x in_features and weight: in_features x out_features."""
    product = mm(x, weight)
    if product is not None and bias.dtype is not x.dtype:
        raise ShapeError(unlike(x, bias, "bias"))
    return product if bias.shape == weight.shape[1:] else None


def mm(x: Tensor, weight: Tensor) -> Made:
    """rows x out_features, of x: rows x in_features and weight: in_features x out_features."""
    if not x.is_meta or not weight.is_meta or x.dim() != 2 or weight.dim() != 2:
        return None
    if weight.dtype is not x.dtype:
        raise ShapeError(unlike(x, weight, "weight"))  # integers too, which torch's meta kernel would take
    if not floating(x):
        return None
    (rows, features), (takes, out) = x.shape, weight.shape
    if features != takes:
        raise ShapeError(f"input has {features} features, the weight takes {takes}")
    return empty((rows, out), x)


def bmm(x: Tensor, y: Tensor) -> Made:
    """batch x rows x columns, of x: batch x rows x inner and y: batch x inner x columns."""
    if not floating(x) or x.dtype is not y.dtype or not y.is_meta or x.dim() != 3 or y.dim() != 3:
        return None
    if x.shape[0] != y.shape[0] or x.shape[2] != y.shape[1]:
        raise ShapeError("cannot multiply the matrices {} and {}".format(*pair(x.shape, y.shape)))
    return empty((*x.shape[:2], y.shape[2]), x)


def baddbmm(added: Tensor, x: Tensor, y: Tensor, *, beta: float = 1, alpha: float = 1) -> Made:
    """As `bmm`, with a summand of the shape of the product."""
    product = bmm(x, y)
    return product if product is not None and added.dtype is x.dtype and added.shape == product.shape else None


def reduced(x: Tensor, dim: Size | None = None, keepdim: bool = False, *, dtype: torch.dtype | None = None) -> Made:
    """The shape of `x` without the dimensions `dim`, or with 1 in their place, contiguous; no dimensions are all of them."""
    rank = x.dim()
    if not floating(x) or dtype is not None or not all(-rank <= d < rank for d in dim or ()):
        return None
    gone = {d % rank for d in dim} if dim else set(range(rank))
    if dim and len(gone) != len(dim):
        return None
    if keepdim:
        return empty([1 if d in gone else size for d, size in enumerate(x.shape)], x)
    return empty([size for d, size in enumerate(x.shape) if d not in gone], x)


def softmax(x: Tensor, dim: int, half_to_float: bool = False) -> Made:
    """The shape of `x`, contiguous for any input."""
    rank = max(1, x.dim())
    if not -rank <= dim < rank:
        raise ShapeError(f"there is no axis {dim} in a tensor of {rank}")
    if not floating(x) or half_to_float:
        return None
    return empty(x.shape, x)


def safe_softmax(x: Tensor, dim: int, dtype: torch.dtype | None = None) -> Made:
    """The shape of `x`."""
    return softmax(x, dim) if dtype is None else None


def normalized(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    variance: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> Made:
    """The first output of `batch_norm`."""
    dtype, shape = x.dtype, x.shape
    contiguous = x.is_contiguous()
    if dtype not in FLOATS or not x.is_meta or not (contiguous or ordered(x)) or len(shape) < 2 or 0 in shape:
        return None
    channels = shape[1]
    if not training if mean is None else training and x.numel() == channels:
        return None  # without statistics, or with those of one value: torch refuses
    for tensor in (weight, bias, mean, variance):
        if tensor is not None and (tensor.dtype is not dtype or tensor.shape != (channels,)):
            return None
    return x.clone() if contiguous else empty(shape, x)  # a clone takes half as long


def batch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    variance: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> Several:
    """The output, and the mean and the inverse deviation of each channel.

    Outside of training these two are empty, as the kernel of the CPU has it; that of the meta device makes room for them.
    """
    made = normalized(x, weight, bias, mean, variance, training, momentum, eps)
    if made is None:
        return None
    kept = _statistics(x.dtype)
    if not training:
        nothing = torch.empty(0, dtype=kept, device=META)
        return made, nothing, nothing
    channels = x.shape[1]
    return made, torch.empty(channels, dtype=kept, device=META), torch.empty(channels, dtype=kept, device=META)


def layer_norm(x: Tensor, normalized: Size, weight: Tensor | None, bias: Tensor | None, eps: float) -> Several:
    """The output, contiguous for any input, and the mean and the inverse deviation of each normalised piece."""
    if not floating(x) or not normalized or 0 in x.shape:
        return None
    outer = x.dim() - len(normalized)
    if outer < 0 or list(x.shape[outer:]) != list(normalized):
        raise ShapeError(f"input is {by(x.shape[1:])}, the normalisation takes {by(normalized)}")
    for tensor in (weight, bias):
        if tensor is not None and (list(tensor.shape) != list(normalized) or tensor.dtype is not x.dtype):
            return None
    kept = _statistics(x.dtype)
    pieces = (*x.shape[:outer], *([1] * len(normalized)))
    return empty(x.shape, x), torch.empty(pieces, dtype=kept, device=META), torch.empty(pieces, dtype=kept, device=META)


def group_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    batch: int,
    channels: int,
    pixels: int,
    groups: int,
    eps: float,
) -> Several:
    """The output, and the mean and the inverse deviation of each group of each sample."""
    if not floating(x) or not ordered(x) or 0 in x.shape or x.numel() != batch * channels * pixels:
        return None
    if x.dim() < 2 or x.shape[0] != batch or x.shape[1] != channels or groups < 1 or channels % groups:
        return None
    for tensor in (weight, bias):
        if tensor is not None and (tensor.shape != (channels,) or tensor.dtype is not x.dtype):
            return None
    return empty(x.shape, x), empty((batch, groups), x), empty((batch, groups), x)


def _statistics(dtype: torch.dtype) -> torch.dtype:
    """The dtype in which statistics are kept: at least single precision."""
    return dtype if dtype is torch.float64 else torch.float32
