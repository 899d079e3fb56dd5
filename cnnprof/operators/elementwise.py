"""Output rules of the operators that work element by element."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from cnnprof.operators.shapes import (
    FLOATS,
    Made,
    Number,
    Several,
    ShapeError,
    broadcast,
    copied,
    distinct,
    empty,
    floating,
    ordered,
    pair,
    strided,
)


def same(x: Tensor, *_: object, **__: object) -> Made:
    """A new tensor like `x`, its dimensions in memory in the order of those of `x`."""
    return copied(x) if floating(x) else None


def itself(x: Tensor, *_: object, **__: object) -> Made:
    """`x`, for the operators that change floating point numbers in place."""
    return x if floating(x) and distinct(x) else None


def where(allowed: Callable[..., bool], rule: Callable[..., Made]) -> Callable[..., Made]:
    """The rule, for the arguments after `x` that are allowed; all others are left to torch, which refuses them."""

    def output(x: Tensor, *args: Any, **kwargs: Any) -> Made:
        return rule(x) if allowed(*args, **kwargs) else None

    return output


def binary(verb: str) -> Callable[..., Made]:
    """The rule of an operator on two tensors, or on a tensor and a number. `verb` is for its error."""

    def output(x: Tensor, y: Tensor | Number, *, alpha: Number = 1) -> Made:
        if not floating(x):
            return None
        if isinstance(y, (int, float)):
            return copied(x)
        if not isinstance(y, Tensor) or y.dtype is not x.dtype or not y.is_meta:
            return None
        if x.shape != y.shape:
            return strided(broadcast(x.shape, y.shape, verb), x, y)
        return x.clone() if x.is_contiguous() and y.is_contiguous() else strided(x.shape, x, y)

    return output


def binary_(verb: str, integers: bool = True) -> Callable[..., Made]:
    """The rule of such an operator in place, where both are floating point numbers or, unless forbidden, both integers."""

    def output(x: Tensor, y: Tensor | Number, *, alpha: Number = 1) -> Made:
        if not x.is_meta or not distinct(x):
            return None
        if x.dtype not in FLOATS:
            whole = x.dtype is torch.int64 and type(y) is type(alpha) is int
            return x if integers and whole else None
        if isinstance(y, (int, float)):
            return x
        if not isinstance(y, Tensor) or y.dtype is not x.dtype or not y.is_meta:
            return None
        if x.shape != y.shape and tuple(broadcast(x.shape, y.shape, verb)) != x.shape:
            raise ShapeError("cannot {} {} and {} in place".format(verb, *pair(x.shape, y.shape)))
        return x

    return output


def glu(x: Tensor, dim: int = -1) -> Made:
    """The shape of `x` with one dimension halved."""
    if not floating(x) or not ordered(x) or not -x.dim() <= dim < x.dim():
        return None
    shape = list(x.shape)
    if shape[dim] % 2:
        raise ShapeError(f"GLU takes an even size in dimension {dim}, not {shape[dim]}")
    shape[dim] //= 2
    return empty(shape, x)


def twice(x: Tensor, *_: object) -> Several:
    """Two tensors like `x`."""
    return (copied(x), copied(x)) if floating(x) else None


def prelu(x: Tensor, slope: Tensor) -> Made:
    """A new tensor like `x`."""
    if not floating(x) or slope.dtype is not x.dtype or not x.is_contiguous() or not slope.is_contiguous():
        return None
    return x.clone() if tuple(broadcast(x.shape, slope.shape, "multiply")) == x.shape else None
