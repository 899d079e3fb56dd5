"""The convention of ptflops 0.7.5, `get_model_complexity_info(…)`: a rule for each class of module, and one for each function.

Its functions are patched into torch.nn.functional, where the modules find them too: `nn.ReLU` counts as a module and once more as
`F.relu`. Operators are methods that are not patched, so `x + y` counts nothing and `torch.add(x, y)` does; `x.add(y)` and
`x.matmul(y)`, which ptflops counts, look like the operators `+` and `@` here and are taken for those.
From ptflops/{pytorch_engine,pytorch_ops}.py; it gives the number for one input and is taken times the batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from cnnprof.operators.products import term
from cnnprof.profiling.calls import AnyCall, Operation
from cnnprof.profiling.counting import (
    Counted,
    Counting,
    InexpressibleError,
    Places,
    Terms,
    counted,
    plain,
    several,
    times,
    together,
)
from cnnprof.profiling.witness import Invocation, Seen, Witness

Rule: TypeAlias = Callable[[Any, Invocation], Terms]
FunctionRule: TypeAlias = Callable[[Invocation], Terms]


def counting(trace: Witness, module: nn.Module) -> Counting:
    """The function that counts a row as ptflops does."""
    places = Places(module)

    def count(call: AnyCall) -> Counted:
        counts = [counted("ptflops", _of_operation, operation, trace.seen(operation)) for operation in call.operations()]
        layer, seen = call.callee, trace.invocation(call)
        rule = _MODULES.get(type(layer))
        if rule is not None and seen is not None and isinstance(layer, nn.Module):
            terms, unknown = counted("ptflops", rule, layer, seen)
            # What a module that stands in two places counted is added in both.
            counts.insert(0, (several(places[layer], terms), unknown))
        return together(counts)

    return count


def _of_operation(operation: Operation, seen: Seen) -> Terms:
    """At the first operator of a function, what the function counts."""
    function = seen.function
    if function is None:
        return ()
    if function.called is functional.multi_head_attention_forward:
        return _in_attention(operation, seen.operator, function)
    if not seen.leads or function.called not in _FUNCTIONS:
        return ()
    # Patching changes the name in torch.nn.functional, not a function that a module has kept: TransformerEncoderLayer.activation.
    kept = seen.module is not None and any(value is function.called for value in vars(seen.module).values())
    return () if kept else _FUNCTIONS[function.called](function)


def _convolution(layer: Any, seen: Invocation) -> Terms:
    """Products, and the additions of the bias."""
    size, (output,) = seen.args[0], seen.outputs
    where = size if layer.transposed else output
    products = term(where[0], *where[2:], layer.in_channels, layer.out_channels // layer.groups, *layer.kernel_size)
    return (products, *(times(1, output) if layer.bias is not None else ()))


def _linear(layer: Any, seen: Invocation) -> Terms:
    (output,) = seen.outputs
    return (term(*output, seen.args[0][-1]), *(times(1, output) if layer.bias is not None else ()))


def _per_input(layer: Any, seen: Invocation) -> Terms:
    return times(1, seen.args[0])


def _per_output(layer: Any, seen: Invocation) -> Terms:
    return times(1, seen.outputs[0])


def _norm(layer: Any, seen: Invocation) -> Terms:
    """LayerNorm has no `affine`, only `elementwise_affine`, which is not asked for."""
    return times(2 if getattr(layer, "affine", False) else 1, seen.args[0])


def _recurrent_step(layer: Any, level: str, extra: int) -> int:
    """One direction of one layer for one element of a sequence: products, `extra` for each unit, and the biases."""
    weights = sum(getattr(layer, f"weight_{kind}{level}").numel() for kind in ("ih", "hh"))
    biases = sum(getattr(layer, f"bias_{kind}{level}").numel() for kind in ("ih", "hh")) if layer.bias else 0
    return int(weights + extra * layer.hidden_size + biases)


def _cell(extra: int) -> Rule:
    return lambda layer, seen: ((seen.args[0][0], _recurrent_step(layer, "", extra)),)


def _recurrent(extra: int) -> Rule:
    def rule(layer: Any, seen: Invocation) -> Terms:
        size = seen.size(0)
        if size is None or len(size) != 3:
            raise InexpressibleError(f"{type(layer).__name__} of a packed sequence, or of one without batch,")
        steps = math.prod(size[:2]) * (2 if layer.bidirectional else 1)
        return tuple([(steps, _recurrent_step(layer, f"_l{level}", extra)) for level in range(layer.num_layers)])

    return rule


def _attention(layer: Any, seen: Invocation) -> Terms:
    """Scaling, the maps of q, k and v with biases, the scores, a softmax, the sums and the last map."""
    if len(seen.args) != 3 or seen.kwargs.keys() - {"need_weights", "attn_mask", "key_padding_mask", "is_causal"}:
        raise InexpressibleError("MultiheadAttention that is not called as attention(q, k, v)")
    if any(size is None or len(size) != 3 for size in (seen.size(place) for place in range(3))):
        raise InexpressibleError("MultiheadAttention without batch")
    q, k, v = ((size[0], size[1], size[2]) if layer.batch_first else (size[1], size[0], size[2]) for size in seen.args)
    batch, queries, features = q
    keys, values, heads = k[1], v[1], layer.num_heads
    maps = queries * features**2 + keys * k[2] ** 2 + values * v[2] ** 2
    biases = (queries + keys + values) * features if layer.in_proj_bias is not None else 0
    scores = heads * queries * keys * (features // heads + 1 + v[2] // heads)
    one = queries * features + maps + biases + scores + queries * v[2] * (v[2] + 1)
    return ((batch, one),)


def _in_attention(operation: Operation, call: Invocation, function: Invocation) -> Terms:
    """The patched functions that `F.multi_head_attention_forward` calls: all but `scaled_dot_product_attention`."""
    if "_safe_softmax" in function.operators:
        return ()
    if operation.operator == "_softmax":
        return times(1, call.args[0])
    if operation.operator == "baddbmm":
        return (*operation.terms, *times(1, call.args[0]))
    return operation.terms if operation.operator == "bmm" else ()


_MODULES: Mapping[type, Rule] = {
    **dict.fromkeys((nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d), _convolution),
    **dict.fromkeys((nn.ReLU, nn.PReLU, nn.ELU, nn.LeakyReLU, nn.ReLU6, nn.GELU, nn.Upsample), _per_output),
    **dict.fromkeys((nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d), _per_input),
    **dict.fromkeys((nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d), _per_input),
    **dict.fromkeys((nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d), _per_input),
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.GroupNorm, nn.LayerNorm), _norm),
    **dict.fromkeys((nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d), _norm),
    nn.Linear: _linear,
    nn.RNN: _recurrent(1),
    nn.GRU: _recurrent(7),
    nn.LSTM: _recurrent(10),
    nn.RNNCell: _cell(1),
    nn.GRUCell: _cell(7),
    nn.LSTMCell: _cell(10),
    nn.MultiheadAttention: _attention,
}
"""The classes that ptflops counts, without those of torchvision and timm."""


def _elements(call: Invocation) -> Terms:
    return times(1, call.size(0) or ())


def _matmul(call: Invocation) -> Terms:
    first, second = call.size(0), call.size(1, "other") or call.size(1, "mat2")
    if first is None or second is None:
        raise InexpressibleError("matmul")
    return (term(*first, second[-1]),)


def _addmm(call: Invocation) -> Terms:
    added, first, second = (call.size(place, name) for place, name in enumerate(("input", "mat1", "mat2")))
    if added is None or first is None or second is None or {"beta", "alpha"} & call.kwargs.keys():
        raise InexpressibleError("addmm")
    return (term(*first, second[-1]), *times(1, added))


def _elementwise(call: Invocation) -> Terms:
    """The larger of the sizes axis by axis, from the first one on, where broadcasting begins with the last."""
    sizes: list[Sequence[int]] = [size for size in (call.size(0), call.size(1, "other")) if size is not None]
    return times(1, [max(pair) for pair in zip_longest(*sizes, fillvalue=1)])


def _interpolate(call: Invocation) -> Terms:
    """The elements of the output; and those of the input for `area`, which is adaptive pooling."""
    size, wanted, scale = call.size(0), call.argument(1, "size"), call.argument(2, "scale_factor")
    if size is None or (wanted is None and scale is None):
        raise InexpressibleError("F.interpolate")
    axes = len(size) - 2
    pooled = times(1, size) if call.argument(3, "mode") == "area" else ()
    if wanted is not None:
        return (*times(1, (*size[:2], *(wanted if isinstance(wanted, tuple | list) else [wanted] * axes))), *pooled)
    factor = math.prod(map(int, scale)) if isinstance(scale, tuple | list) else scale**axes
    return (*plain(math.prod(size) * factor), *pooled)


def _local_response_norm(call: Invocation) -> Terms:
    """Squares, a pool over the padded channels, and `x.mul(alpha).add(k)`."""
    size, channels = call.size(0), call.argument(1, "size")
    if size is None or not isinstance(channels, int):
        raise InexpressibleError("F.local_response_norm")
    return (*times(3, size), *times(1, (size[0], size[1] + channels - 1, *size[2:])))


def _inexpressible(call: Invocation) -> Terms:
    raise InexpressibleError(f"F.{call.called.__name__}")  # which calls patched functions and methods


_FUNCTIONS: Mapping[Any, FunctionRule] = {
    **dict.fromkeys(
        (functional.relu, functional.prelu, functional.elu, functional.relu6, functional.gelu, functional.silu), _elements
    ),
    **dict.fromkeys((functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d), _elements),
    **dict.fromkeys((functional.max_pool1d, functional.max_pool2d, functional.max_pool3d), _elements),
    **dict.fromkeys(
        (functional.max_pool1d_with_indices, functional.max_pool2d_with_indices, functional.max_pool3d_with_indices), _elements
    ),
    **dict.fromkeys((functional.adaptive_avg_pool1d, functional.adaptive_avg_pool2d, functional.adaptive_avg_pool3d), _elements),
    **dict.fromkeys((functional.adaptive_max_pool1d, functional.adaptive_max_pool2d, functional.adaptive_max_pool3d), _elements),
    functional.adaptive_max_pool1d_with_indices: _elements,
    functional.adaptive_max_pool2d_with_indices: _elements,
    functional.adaptive_max_pool3d_with_indices: _elements,
    functional.softmax: _elements,
    functional.interpolate: _interpolate,
    **dict.fromkeys((torch.matmul, torch.mm, Tensor.mm, torch.bmm, Tensor.bmm), _matmul),
    **dict.fromkeys((torch.addmm, Tensor.addmm, torch.baddbmm), _addmm),
    **dict.fromkeys((torch.add, torch.mul), _elementwise),
    functional.local_response_norm: _local_response_norm,
    **dict.fromkeys((functional.lp_pool1d, functional.lp_pool2d, functional.lp_pool3d), _inexpressible),
}
"""The functions that ptflops patches, and those that call several of them."""
