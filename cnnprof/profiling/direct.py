"""Layers of torch's that run one operator, noted without torch's way from the layer to the operator.

That way, `forward`, the functional, the dispatcher and back into Python, takes longer than all that is noted on it. Where it can
only lead to one call of one operator, the trace is given that call at once. Nothing is left out: the operator's rule makes the
output of each call, and what is noted is the same. Wherever anybody could have put something in between, a hook, a mode, a function
of their own, and wherever a rule has no answer, torch goes its way.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import BuiltinFunctionType
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional as F  # noqa: N812 - as everybody writes it
from torch.nn.modules import module as module_hooks

from cnnprof.profiling.trace import Trace

Called: TypeAlias = "tuple[Any, tuple[Any, ...]] | None"
"""An operator and its arguments; None where it is not that simple."""

aten = torch.ops.aten


def _convolution(rank: int) -> Callable[[Any, Tensor], Called]:
    nothing = (0,) * rank

    def convolution(layer: Any, x: Tensor) -> Called:
        padding = layer.padding
        if x.dim() != rank + 2 or layer.padding_mode != "zeros" or type(padding) is str:
            return None
        own = layer._parameters
        weight, bias = own["weight"], own["bias"]
        if type(weight) not in _PLAIN or type(bias) not in _PLAIN:
            return None
        return aten.convolution.default, (x, weight, bias, layer.stride, padding, layer.dilation, False, nothing, layer.groups)

    return convolution


def _batch_norm(*ranks: int) -> Callable[[Any, Tensor], Called]:
    def batch_norm(layer: Any, x: Tensor) -> Called:
        if layer.training or x.dim() not in ranks or layer.eps < 0:
            return None
        own, kept = layer._parameters, layer._buffers
        weight, bias, mean, variance = own["weight"], own["bias"], kept["running_mean"], kept["running_var"]
        if type(weight) not in _PLAIN or type(bias) not in _PLAIN or type(mean) is not Tensor or type(variance) is not Tensor:
            return None
        return aten.native_batch_norm.default, (x, weight, bias, mean, variance, False, layer.momentum or 0.0, layer.eps)

    return batch_norm


def _activation(operator: Any, in_place: Any) -> Callable[[Any, Tensor], Called]:
    def activation(layer: Any, x: Tensor) -> Called:
        return (in_place if layer.inplace else operator), (x,)

    return activation


def _hardtanh(layer: Any, x: Tensor) -> Called:
    if layer.min_val > layer.max_val:
        return None
    return aten.hardtanh_.default if layer.inplace else aten.hardtanh.default, (x, layer.min_val, layer.max_val)


def _sigmoid(layer: Any, x: Tensor) -> Called:
    return aten.sigmoid.default, (x,)


LAYERS: dict[type[nn.Module], Callable[[Any, Tensor], Called]] = {
    nn.Conv1d: _convolution(1),
    nn.Conv2d: _convolution(2),
    nn.Conv3d: _convolution(3),
    nn.BatchNorm1d: _batch_norm(2, 3),
    nn.BatchNorm2d: _batch_norm(4),
    nn.BatchNorm3d: _batch_norm(5),
    nn.ReLU: _activation(aten.relu.default, aten.relu_.default),
    nn.ReLU6: _hardtanh,
    nn.Hardtanh: _hardtanh,
    nn.SiLU: _activation(aten.silu.default, aten.silu_.default),
    nn.Hardswish: _activation(aten.hardswish.default, aten.hardswish_.default),
    nn.Hardsigmoid: _activation(aten.hardsigmoid.default, aten.hardsigmoid_.default),
    nn.Sigmoid: _sigmoid,
}
"""What convolutional networks have most of, and which operator it runs in `eval()`, with what."""

_PLAIN = frozenset({Tensor, nn.Parameter, type(None)})
"""What a weight has to be: a class of its own may compute in its own way."""

_FUNCTIONS: tuple[tuple[Any, str], ...] = (
    (nn.Module, "_call_impl"),
    *[(layer, name) for layer in LAYERS for name in ("forward", "_conv_forward", "_check_input_dim") if hasattr(layer, name)],
    *[(F, f"conv{rank}d") for rank in (1, 2, 3)],
    *[(home, "batch_norm") for home in (F, torch)],
    *[(torch, name) for name in ("relu", "relu_", "sigmoid")],
    *[(F, name) for name in ("relu", "hardtanh", "silu", "hardswish", "hardsigmoid")],
    *[(torch._C._nn, name + end) for name in ("hardtanh", "silu", "hardswish", "hardsigmoid") for end in ("", "_")],
)
"""What their calls go through."""


@contextmanager
def direct(trace: Trace) -> Iterator[None]:
    """Gives a trace the operators of such layers directly. Afterwards `nn.Module` is as it was."""
    torchs: Any = nn.Module._call_impl
    if type(trace) is not Trace or not all(_is_torchs(getattr(*place)) for place in _FUNCTIONS):
        yield  # the other traces see more than this tells, and the functions of others have to be run
        return

    def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if not (_unhooked(module) and _undisturbed(trace)):
            return torchs(module, *args, **kwargs)
        layer = LAYERS.get(type(module))
        if layer is not None and len(args) == 1 and not kwargs and "forward" not in module.__dict__:
            x = args[0]
            if type(x) is Tensor and _dispatch_keys(x) == _META:
                with _no_functions(), _no_modes():
                    output = _output(trace, layer, module, x)
                if output is not None:
                    return output
        return trace.call(module, args, kwargs)

    nn.Module._call_impl = call  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        nn.Module._call_impl = torchs  # type: ignore[method-assign]


def _output(trace: Trace, layer: Callable[[Any, Tensor], Called], module: nn.Module, x: Tensor) -> Tensor | None:
    try:
        called = layer(module, x)
    except (KeyError, AttributeError):
        return None  # somebody has put another kind of thing in the place of a parameter, or taken it away
    return None if called is None else trace.layer(module, x, *called)


def _is_torchs(function: Any) -> bool:
    """Whether nobody has put a function of their own in its place."""
    code = getattr(function, "__code__", None)
    return type(function) is BuiltinFunctionType if code is None else code.co_filename.startswith(_HOME)


_HOME = str(Path(torch.__file__).parent)


def _unhooked(module: Any) -> bool:
    """Whether a module has no hooks."""
    own = module.__dict__
    return not (own["_forward_pre_hooks"] or own["_forward_hooks"] or own["_backward_hooks"] or own["_backward_pre_hooks"])


def _undisturbed(trace: Trace) -> bool:
    """Whether nobody but the trace looks on: no other hook of all modules, no other mode, neither autograd nor `torch.func`."""
    return not (
        torch.is_grad_enabled()
        or torch.is_inference_mode_enabled()
        or _modes() != 1
        or _mode_at(0) is not trace
        or _function_modes() != trace.naming
        or _transforms() is not None
        or forward_ad._current_level >= 0
        or _tracing() is not None
        or len(_global_hooks) != 1
        or len(_global_pre_hooks) != 1
        or module_hooks._global_backward_hooks
        or module_hooks._global_backward_pre_hooks
        or trace.failure.error
        or threading.get_ident() != trace.thread
    )


_modes, _mode_at, _function_modes = (
    torch._C._len_torch_dispatch_stack,
    torch._C._get_dispatch_stack_at,
    torch._C._len_torch_function_stack,
)
_transforms, _tracing = torch._C._functorch.peek_interpreter_stack, torch._C._get_tracing_state
_global_hooks, _global_pre_hooks = module_hooks._global_forward_hooks, module_hooks._global_forward_pre_hooks
_no_functions: Any = torch._C.DisableTorchFunction
_no_modes: Any = torch._C._DisableTorchDispatch
_dispatch_keys: Any = torch._C._dispatch_keys
_META = _dispatch_keys(torch.empty(0, device="meta"))
"""Of a tensor that is nothing but on meta: no view of negated numbers, nothing sparse, quantized or of inference mode."""
