"""Layers of torch's and functions that run one operator, noted without torch's way from there to the operator.

That way, `forward`, the functional, the dispatcher and back into Python, takes longer than all that is noted on it. Where it can
only lead to one call of one operator, the trace is given that call at once. Nothing is left out: the operator's rule makes the
output of each call, and what is noted is the same. Wherever anybody could have put something in between, a hook, a mode, a function
of their own, and wherever a rule has no answer, torch goes its way.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import MethodDescriptorType, ModuleType
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional as F  # noqa: N812 - as everybody writes it
from torch.nn.modules import module as module_hooks

from cnnprof.operators.contractions import normalized
from cnnprof.profiling.torchs_code import METHODS, REPLACEABLE, Way, is_as_written, unhooked
from cnnprof.profiling.trace import COMPILER, Trace
from cnnprof.profiling.traced_operators import OPERATORS, Operator

Called: TypeAlias = "tuple[Operator | None, tuple[Any, ...]] | None"
"""An operator, or none, and its arguments; None where it is not that simple."""
Attributes: TypeAlias = dict[str, Any]
"""Those of a module: it takes five times as long to ask the module itself for one."""
Layer: TypeAlias = Callable[[Attributes, Tensor], Called]
"""What a layer calls, in `eval()`, with that input."""

aten = torch.ops.aten


def _convolution(rank: int) -> Layer:
    operator, nothing = OPERATORS[aten.convolution.default], (0,) * rank

    def convolution(layer: Attributes, x: Tensor) -> Called:
        padding = layer["padding"]
        if x.dim() != rank + 2 or layer["padding_mode"] != "zeros" or type(padding) is str:
            return None
        stride, dilation, groups = layer["stride"], layer["dilation"], layer["groups"]
        own = layer["_parameters"]
        weight, bias = own["weight"], own["bias"]
        if type(weight) not in _PLAIN or type(bias) not in _PLAIN or not _are_ints((*stride, *padding, *dilation, groups)):
            return None
        return operator, (x, weight, bias, stride, padding, dilation, False, nothing, groups)

    return convolution


def _batch_norm(*ranks: int) -> Layer:
    operator = OPERATORS[aten.native_batch_norm.default]._replace(make=normalized)  # of the other outputs the layer makes nothing

    def batch_norm(layer: Attributes, x: Tensor) -> Called:
        momentum, eps = layer["momentum"], layer["eps"]
        if layer["training"] or x.dim() not in ranks or type(eps) is not float or eps < 0 or type(momentum) not in _MOMENTA:
            return None
        own, kept = layer["_parameters"], layer["_buffers"]
        weight, bias, mean, variance = own["weight"], own["bias"], kept["running_mean"], kept["running_var"]
        if type(weight) not in _PLAIN or type(bias) not in _PLAIN or type(mean) is not Tensor or type(variance) is not Tensor:
            return None
        return operator, (x, weight, bias, mean, variance, False, momentum or 0.0, eps)

    return batch_norm


def _activation(func: Any, func_in_place: Any = None) -> Layer:
    operator = OPERATORS[func]
    in_place = None if func_in_place is None else OPERATORS[func_in_place]

    def activation(layer: Attributes, x: Tensor) -> Called:
        return (in_place if in_place is not None and layer["inplace"] else operator), (x,)

    return activation


def _identity(layer: Attributes, x: Tensor) -> Called:
    return None, ()


def _hardtanh(layer: Attributes, x: Tensor) -> Called:
    low, high = layer["min_val"], layer["max_val"]
    if type(low) is not float or type(high) is not float or low > high:
        return None
    return OPERATORS[aten.hardtanh_.default if layer["inplace"] else aten.hardtanh.default], (x, low, high)


_PLAIN = frozenset({Tensor, nn.Parameter, type(None)})
"""What a weight has to be: a class of its own may compute in its own way."""
_MOMENTA = frozenset({float, type(None)})
_INT = frozenset({int})


def _are_ints(values: tuple[Any, ...]) -> bool:
    """Whether all are numbers of Python's own: torch refuses some others, and converts some."""
    return _INT.issuperset(map(type, values))


LAYERS: dict[type[nn.Module], tuple[Layer, ModuleType, str]] = {
    nn.Conv1d: (_convolution(1), torch, "conv1d"),
    nn.Conv2d: (_convolution(2), torch, "conv2d"),
    nn.Conv3d: (_convolution(3), torch, "conv3d"),
    nn.BatchNorm1d: (_batch_norm(2, 3), torch, "batch_norm"),
    nn.BatchNorm2d: (_batch_norm(4), torch, "batch_norm"),
    nn.BatchNorm3d: (_batch_norm(5), torch, "batch_norm"),
    nn.ReLU: (_activation(aten.relu.default, aten.relu_.default), torch, "relu"),
    nn.ReLU6: (_hardtanh, torch._C._nn, "hardtanh"),
    nn.Hardtanh: (_hardtanh, torch._C._nn, "hardtanh"),
    nn.SiLU: (_activation(aten.silu.default, aten.silu_.default), torch._C._nn, "silu"),
    nn.Hardswish: (_activation(aten.hardswish.default, aten.hardswish_.default), torch._C._nn, "hardswish"),
    nn.Hardsigmoid: (_activation(aten.hardsigmoid.default, aten.hardsigmoid_.default), torch._C._nn, "hardsigmoid"),
    nn.Sigmoid: (_activation(aten.sigmoid.default), torch, "sigmoid"),
    nn.Tanh: (_activation(aten.tanh.default), torch, "tanh"),
    nn.Identity: (_identity, torch, ""),
}
"""What convolutional networks have most of, and the function of torch's that each ends in, if any: where it is, and its name."""


FUNCTIONS: dict[Any, tuple[str, Operator]] = {
    Tensor.add: ("+", OPERATORS[aten.add.Tensor]),
    Tensor.sub: ("-", OPERATORS[aten.sub.Tensor]),
    Tensor.mul: ("*", OPERATORS[aten.mul.Tensor]),
    Tensor.div: ("/", OPERATORS[aten.div.Tensor]),
    Tensor.add_: ("+=", OPERATORS[aten.add_.Tensor]),
    Tensor.sub_: ("-=", OPERATORS[aten.sub_.Tensor]),
    Tensor.mul_: ("*=", OPERATORS[aten.mul_.Tensor]),
    Tensor.div_: ("/=", OPERATORS[aten.div_.Tensor]),
}
"""What Python's operators on two tensors call, as one writes it, and what that runs."""


_READ = frozenset(
    (
        *("__getattribute__", "_parameters", "_buffers", "_modules", "training"),
        *("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"),
        *("padding", "padding_mode", "stride", "dilation", "groups", "momentum", "eps", "inplace", "min_val", "max_val"),
    )
)
"""Attributes that are read here, which no class has: it would have them in the place of the layer's."""
_CALLED = Way((nn.Module, "_wrapped_call_impl"))
_SEQUENTIAL = Way((nn.Sequential, "forward"), (nn.Sequential, "__iter__"))


def _way(kind: type[nn.Module], home: ModuleType, function: str) -> Way:
    methods = [(kind, name) for name in (*METHODS, "__getattr__")]
    functions = (function, f"{function}_") if function else ()
    return Way(*methods, *[(owner, name) for owner in (home, F) for name in functions])


_CLASSES = {cls for kind in LAYERS for cls in kind.__mro__ if cls is not object}
_KINDS = {kind: (layer, _way(kind, home, function)) for kind, (layer, home, function) in LAYERS.items()}


@contextmanager
def direct(trace: Trace) -> Iterator[None]:
    """Gives a trace the operators of such layers directly. Afterwards `nn.Module` is as it was."""
    torchs: Any = nn.Module._call_impl
    plain = all(vars(cls).keys().isdisjoint(_READ) for cls in _CLASSES)
    if type(trace) is not Trace or not plain or not is_as_written(nn.Module, "_call_impl", torchs):
        yield  # the other traces see more than this tells
        return

    def call(module: nn.Module, /, *args: Any, **kwargs: Any) -> Any:
        own = module.__dict__
        if not (unhooked(own) and _undisturbed(trace, trace.naming)):
            return torchs(module, *args, **kwargs)
        cls = type(module)
        if (cls in _KINDS or cls is nn.Sequential) and len(args) == 1 and not kwargs and _is_plain(args[0]):
            kind = _KINDS.get(cls)
            if kind is not None and kind[1].is_torchs():
                with _no_functions(), _no_modes():
                    output = _output(trace, kind[0], module, own, args[0])
                    if output is not None:
                        trace.settle(output)
                        return output
            elif cls is nn.Sequential and _SEQUENTIAL.is_torchs() and "forward" not in own:
                return trace.call(module, args, kwargs, partial(_one_by_one, trace, itself(), module))
        return trace.call(module, args, kwargs)

    # A function that held itself would be a cycle, and would keep all that was traced alive until garbage is collected.
    itself = weakref.ref(call)

    def function(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
        known = FUNCTIONS.get(func) if type(func) is MethodDescriptorType else None
        if known is None or kwargs or len(args) != 2:
            return None
        x, y = args
        if not (_is_plain(x) and _is_plain(y) and _undisturbed(trace, False)):  # torch has taken that mode off the stack
            return None
        sign, operator = known
        with _no_modes():
            try:
                output: Tensor | None = operator.make(x, y)
            except Exception:
                return None  # torch refuses it too
            if output is not None:
                trace.binary(sign, operator, (x, y), output)
            return output

    compiler = COMPILER in sys.modules
    trace.shortcut = function
    nn.Module._call_impl = call  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        trace.shortcut = None  # or it and the trace would keep each other alive
        if nn.Module._call_impl is call:
            nn.Module._call_impl = torchs  # type: ignore[method-assign]
        if not compiler and COMPILER in sys.modules:
            _tell_compiler(call, torchs)


def _tell_compiler(call: Callable[..., Any], torchs: Callable[..., Any]) -> None:
    """Puts torch's own into the modules of its compiler, which keeps what it found when it was imported: in the pass."""
    for name, module in list(sys.modules.items()):
        if name.startswith(COMPILER):
            for variable, value in list(vars(module).items()):
                if value is call:
                    setattr(module, variable, torchs)


def _one_by_one(trace: Trace, call: Callable[..., Any] | None, layers: nn.Module, x: Any) -> Any:
    """What `forward` of `nn.Sequential` returns. Each layer is run as `call` would run it.

    From one direct layer to the next nobody can put in anything, so it is enough to look before the first of them. As in torch's,
    nothing but `x` may hold on to a tensor, or it would be freed later.
    """
    rest: Iterator[Any] = iter(layers._modules.values())
    module = next(rest, _END)
    looked = True  # `call` has looked at `x`, and for who else is looking on
    while module is not _END:
        if type(module) in _KINDS and (looked or (_is_plain(x) and _undisturbed(trace, trace.naming))) and _CALLED.is_torchs():
            seen: set[Way] = set()
            follows = False
            with _no_functions(), _no_modes():
                while (kind := _KINDS.get(type(module))) is not None and unhooked(own := module.__dict__):
                    layer, way = kind
                    if way not in seen:
                        if not (_leads_to(call, type(module)) and way.is_torchs()):
                            break
                        seen.add(way)
                    if (output := _output(trace, layer, module, own, x, follows)) is None:
                        break
                    x = output
                    follows = True
                    module = next(rest, _END)
                if follows:
                    trace.settle(x)
            output = None  # or it would hold on to what `x` does
            if module is _END:
                break
        trace.name_functions(False)  # such as those in hooks of the layer: `forward` of `nn.Sequential` is torch's
        x = module(x)
        module = next(rest, _END)
        looked = False
    return x


_END: Any = object()


def _leads_to(call: Callable[..., Any] | None, cls: Any) -> bool:
    """Whether it is what runs when a layer of that class is called."""
    return cls.__call__ is cls._wrapped_call_impl and cls._compiled_call_impl is None and cls._call_impl is call


def _output(trace: Trace, layer: Layer, module: nn.Module, own: Attributes, x: Tensor, follows: bool = False) -> Tensor | None:
    """What the module, of those attributes, returns, noted: as plain a tensor as it was given. None where torch goes its way."""
    if own["_modules"] or not own.keys().isdisjoint(REPLACEABLE):
        return None
    try:
        called = layer(own, x)
        if called is None:
            return None
        operator, args = called
        output: Tensor | None = None if operator is None else operator.make(*args)
    except Exception:
        # Somebody has put another kind of thing in the place of an attribute, or taken it away; or there is no such output. On its
        # way torch meets the same error, which is reported as any other.
        return None
    if operator is None:
        return trace.idle(module, x, follows)
    if output is not None:
        trace.layer(module, x, operator, args, output, follows)
    return output


def _is_plain(x: Any) -> bool:
    """Whether it is a tensor that is nothing but on meta: not of negated numbers, nor sparse, quantized or of inference mode."""
    return type(x) is Tensor and _dispatch_keys(x) == _META


def _undisturbed(trace: Trace, naming: bool) -> bool:
    """Whether nobody but the trace looks on: no other hook of all modules, no other mode, no autograd, autocast or `torch.func`.

    `naming` is whether its mode for functions is on the stack. What was imported meanwhile the trace has to let go of first.
    """
    return not (
        torch.is_grad_enabled()
        or torch.is_inference_mode_enabled()
        or _autocasts()
        or _modes() != 1
        or _mode_at(0) is not trace
        or _function_modes() != naming
        or _transforms() is not None
        or forward_ad._current_level >= 0
        or _tracing() is not None
        or len(_global_hooks) != 1
        or len(_global_pre_hooks) != 1
        or module_hooks._global_backward_hooks
        or module_hooks._global_backward_pre_hooks
        or trace.failure.error
        or (not trace.compiler and COMPILER in sys.modules)
        or threading.get_ident() != trace.thread
    )


_modes, _mode_at = torch._C._len_torch_dispatch_stack, torch._C._get_dispatch_stack_at
_function_modes = torch._C._len_torch_function_stack
_autocasts = torch._C._is_any_autocast_enabled
_transforms, _tracing = torch._C._functorch.peek_interpreter_stack, torch._C._get_tracing_state
_global_hooks, _global_pre_hooks = module_hooks._global_forward_hooks, module_hooks._global_forward_pre_hooks
_no_functions: Any = torch._C.DisableTorchFunction
_no_modes: Any = torch._C._DisableTorchDispatch
_dispatch_keys: Any = torch._C._dispatch_keys
_META = _dispatch_keys(torch.empty(0, device="meta"))
