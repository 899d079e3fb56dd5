"""The convention of fvcore 0.1.5, `FlopCountAnalysis(…).total()`: products, and what it adds for norms, pools and resizing.

fvcore counts functions of aten in a trace by torch.jit, so the function under which an operator runs decides: the matrix products
in scaled dot product attention and in recurrent layers have no rule there and count nothing.
From fvcore/nn/flop_count.py and fvcore/nn/jit_handles.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from cnnprof.operators.products import term
from cnnprof.profiling.calls import AnyCall, Operation
from cnnprof.profiling.counting import Counted, Counting, InexpressibleError, Terms, counted, plain, times, together
from cnnprof.profiling.witness import Invocation, Seen, Witness

Rule: TypeAlias = Callable[[Invocation], Terms]


def counting(trace: Witness, module: nn.Module) -> Counting:
    """The function that counts a row as fvcore does."""

    def count(call: AnyCall) -> Counted:
        return together(counted("fvcore", terms_of, operation, trace.seen(operation)) for operation in call.operations())

    return count


def terms_of(operation: Operation, seen: Seen) -> Terms:
    """What fvcore counts for an operator, or at the first operator of a function for the function.

    Raises InexpressibleError where fvcore stops, or counts what cannot be known here.
    """
    function = seen.function
    if function is not None:
        if function.called is functional.multi_head_attention_forward:
            return _in_attention(operation, function)
        if function.called in _CELLS:
            return operation.terms
        if function.called in _FUNCTIONS:
            return _FUNCTIONS[function.called](function) if seen.leads else ()
    if operation.operator in _OPERATORS:
        return _OPERATORS[operation.operator](seen.operator)
    if operation.operator == "convolution":
        return () if function is not None and _is_padded_by_name(function) else operation.terms
    if operation.terms:
        raise InexpressibleError(getattr(function.called, "__name__", operation.operator) if function else operation.operator)
    return ()


def _is_padded_by_name(function: Invocation) -> bool:
    """Whether it is a convolution with `padding="same"`: a function of its own in aten, for which fvcore has no rule."""
    return function.called in _CONVOLUTIONS and isinstance(function.argument(4, "padding"), str)


def _in_attention(operation: Operation, function: Invocation) -> Terms:
    """Linear maps and `torch.bmm`. In `scaled_dot_product_attention`, which has a softmax of its own, nothing."""
    fused = "_safe_softmax" in function.operators
    counted = ("mm", "addmm") if fused else ("mm", "addmm", "bmm")
    return operation.terms if operation.operator in counted else ()


def _linear(call: Invocation) -> Terms:
    return _matrices(call.size(0), call.size(1, "weight"), columns=0)


def _matmul(call: Invocation) -> Terms:
    """All elements of the first times the columns of the second, so that a batch of the second alone is forgotten."""
    return _matrices(call.size(0), call.size(1, "other") or call.size(1, "mat2"))


def _matmul_reversed(call: Invocation) -> Terms:
    return _matrices(call.size(1, "other"), call.size(0))


def _addmm(call: Invocation) -> Terms:
    return _matrices(call.size(1, "mat1"), call.size(2, "mat2"))


def _matrices(first: torch.Size | None, second: torch.Size | None, columns: int = -1) -> Terms:
    if first is None or second is None or len(second) < 2:
        raise InexpressibleError("the product with a vector")  # there fvcore stops with an IndexError
    return (term(*first, second[columns]),)


def _einsum(call: Invocation) -> Terms:
    """What numpy says, to four digits, of the best way to contract; two equations are counted exactly."""
    from numpy import broadcast_to, einsum_path, zeros

    equation = call.args[0]
    operands = (
        call.args[1] if isinstance(call.args[1], list | tuple) and not isinstance(call.args[1], torch.Size) else call.args[1:]
    )
    if not isinstance(equation, str):
        raise InexpressibleError("einsum by numbers")
    letters = dict.fromkeys(letter for letter in equation if letter.isalpha())
    renamed = equation.replace(" ", "").translate({ord(letter): 97 + place for place, letter in enumerate(letters)})
    if renamed in ("abc,abd->acd", "abc,adc->adb"):
        return (term(*operands[0], operands[1][-1 if renamed == "abc,abd->acd" else 1]),)
    said = einsum_path(renamed, *[broadcast_to(zeros(()), size) for size in operands], optimize="optimal")[1]
    (line,) = [line for line in said.split("\n") if "optimized flop" in line.lower()]
    return plain(float(line.partition(":")[2]) // 2)


def _adaptive_avg_pool2d(call: Invocation) -> Terms:
    return times(1, call.size(0) or ())


def _batch_norm(call: Invocation) -> Terms:
    """Of `native_batch_norm(input, weight, bias, mean, variance, training, …)`."""
    affine = call.size(1, "weight") is not None
    if call.argument(5, "training"):
        return _norm(call, affine)
    return times(2 if affine else 1, call.args[0])


def _instance_norm(call: Invocation) -> Terms:
    """Of `F.instance_norm(input, mean, variance, weight, bias, …)`."""
    return _norm(call, call.size(3, "weight") is not None)


def _layer_norm(call: Invocation) -> Terms:
    """Of `native_layer_norm(input, normalized_shape, weight, …)`."""
    return _norm(call, call.size(2, "weight") is not None)


def _group_norm(call: Invocation) -> Terms:
    """Of `F.group_norm(input, groups, weight, …)`: the operator itself takes a flattened input."""
    return _norm(call, call.size(2, "weight") is not None)


def _norm(call: Invocation, affine: bool) -> Terms:
    size = call.size(0) or torch.Size()
    if not 2 <= len(size) <= 5:
        raise InexpressibleError(f"the normalisation of {len(size)} axes")  # there fvcore stops with an AssertionError
    return times(5 if affine else 4, size)


def _interpolate(call: Invocation) -> Terms:
    """Of images only, by their mode."""
    size, mode = call.size(0), call.argument(3, "mode") or "nearest"
    if size is None or len(size) != 4 or call.argument(6, "antialias"):
        return ()
    return times(1, size) if mode == "area" else times({"nearest": 1, "bilinear": 4}.get(mode, 0), call.outputs[0])


def _per_output(factor: int) -> Rule:
    return lambda call: times(factor, call.outputs[0])


def _none(call: Invocation) -> Terms:
    return ()


_OPERATORS: Mapping[str, Rule] = {
    "native_batch_norm": _batch_norm,
    "native_layer_norm": _layer_norm,
    "grid_sampler_2d": _per_output(4),
    "grid_sampler_3d": _per_output(4),
}
"""Operators that are functions of aten for fvcore too."""

_UNSUPPORTED = (
    functional.scaled_dot_product_attention,
    *(torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu),
    *(torch.bilinear, torch.baddbmm, torch.addbmm, torch.addmv, torch.mv, torch.dot, torch.vdot, torch.addr, torch.outer),
    *(Tensor.baddbmm, Tensor.addbmm, Tensor.addmv, Tensor.mv, Tensor.dot, Tensor.vdot, Tensor.addr),
    *(torch.inner, torch.tensordot, torch.conv_tbc, functional.affine_grid, torch.linalg.multi_dot, torch.chain_matmul),
)
"""Functions with products for which fvcore has no rule."""

_CONVOLUTIONS = frozenset({functional.conv1d, functional.conv2d, functional.conv3d})

_CELLS = frozenset({torch.lstm_cell, torch.gru_cell, torch.rnn_tanh_cell, torch.rnn_relu_cell})
"""Functions that a trace by torch.jit shows as the linear maps in them."""

_FUNCTIONS: Mapping[Any, Rule] = {
    functional.linear: _linear,
    **dict.fromkeys((torch.matmul, Tensor.matmul, torch.mm, Tensor.mm, torch.bmm, Tensor.bmm), _matmul),
    Tensor.__rmatmul__: _matmul_reversed,
    **dict.fromkeys((torch.addmm, Tensor.addmm), _addmm),
    torch.einsum: _einsum,
    functional.adaptive_avg_pool2d: _adaptive_avg_pool2d,
    **dict.fromkeys((functional.interpolate, functional.upsample), _interpolate),
    functional.instance_norm: _instance_norm,
    functional.group_norm: _group_norm,
    **dict.fromkeys(_UNSUPPORTED, _none),
}
"""Functions whose operators count only together, at the first of them."""


def name_of(function: Any) -> str:
    """How a function is called: `scaled_dot_product_attention`."""
    return str(getattr(function, "__name__", function)).removeprefix("linalg_")
