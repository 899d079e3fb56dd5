"""One pass over a module on the meta device: hooks see every call of a module, a dispatch mode every operator.

A call notes what runs until it returns, in order: operators, and inner calls of modules and functions. Functions are noted where a
user's own `forward` calls them; what torch's layers call is their own affair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules import module as module_hooks
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from cnnprof.operators import MetaMode, products_of, writes
from cnnprof.profiling.describe import call_of
from cnnprof.profiling.profile import Shape, Term


@dataclass(slots=True)
class Operation:
    """One operator that ran."""

    operator: str
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    output_bytes: int
    terms: tuple[Term, ...]
    known: bool


@dataclass(slots=True)
class Call:
    """A call of a module or of a function, or the part of it that has run."""

    callee: nn.Module | str
    """The function's name, as one writes it: `F.relu`."""
    start: int
    """How many operators had run before."""
    named: bool = False
    """Whether the functions that it calls are noted."""
    arguments: str = ""
    """Those of a function."""
    inputs: tuple[Shape, ...] = ()
    outputs: tuple[Shape, ...] = ()
    output_bytes: int = 0
    events: list[Operation | Call] = field(default_factory=list)

    def calls(self) -> Iterator[Call]:
        """The calls that it made."""
        return (event for event in self.events if isinstance(event, Call))

    def module_calls(self) -> Iterator[tuple[nn.Module, Call]]:
        """The calls of modules that it made, itself or through functions."""
        for call in self.calls():
            if isinstance(call.callee, nn.Module):
                yield call.callee, call
            else:
                yield from call.module_calls()

    def operations(self, inner: bool = False) -> Iterator[Operation]:
        """The operators that ran in it: in functions too, in modules only where they compute its weights."""
        inner = inner or (isinstance(self.callee, nn.Module) and is_parametrized(self.callee))
        for event in self.events:
            if isinstance(event, Operation):
                yield event
            elif inner or isinstance(event.callee, str):
                yield from event.operations(inner)


class Trace(MetaMode):
    """What one pass did, as a tree of calls. `top` holds the module's own call."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.top = Call(module, 0)
        self.stack = [self.top]
        self.called: set[nn.Module] = set()
        self.operators = 0
        self.written: dict[int, int] = {}
        """For each storage that an operator allocated, by its address, the number of that operator."""
        self.functions = _Functions(self)
        self.naming = False
        """Whether `functions` is on the stack of modes: only then a function call costs anything."""

    def run(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], stand_ins: Mapping[str, Tensor]) -> None:
        """Runs the module with hooks on every module of the process, so that none has to be put on the user's modules.

        `stand_ins` take the place of parameters and buffers that are not on the meta device, by name.
        """
        module = self.top.callee
        assert isinstance(module, nn.Module)
        before = module_hooks.register_module_forward_pre_hook(self.enter)
        after = module_hooks.register_module_forward_hook(self.leave, with_kwargs=True)
        try:
            with self:
                if stand_ins:
                    functional_call(module, dict(stand_ins), args, dict(kwargs), tie_weights=False)
                else:
                    module(*args, **kwargs)
        finally:
            self.name_functions(False)
            before.remove()
            after.remove()

    def enter(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        """The hook before a module's `forward`."""
        call = Call(module, self.operators, self.naming)
        self.stack[-1].events.append(call)
        self.stack.append(call)
        self.called.add(module)
        self.name_functions(not is_torchs(type(module)))

    def leave(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        """The hook after it."""
        call = self.stack.pop()
        self.name_functions(call.named)
        call.inputs = _shapes(tensors_in((args, kwargs)) if kwargs else tensors_in(args))
        outputs = tensors_in(output)
        call.outputs = _shapes(outputs)
        call.output_bytes = self.fresh_bytes(outputs, call.start)

    def name_functions(self, on: bool) -> None:
        """Switches the mode that sees function calls on or off."""
        if on != self.naming:
            self.naming = on
            if on:
                self.functions.__enter__()  # type: ignore[no-untyped-call]  # torch left it untyped
            else:
                self.functions.__exit__(None, None, None)  # type: ignore[no-untyped-call]

    def function(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of a function that a user's `forward` calls. What ran no operator leaves no trace."""
        call = Call("", self.operators)
        above = self.stack[-1]
        self.stack.append(call)
        self.naming = False  # torch has taken the mode off the stack meanwhile
        try:
            output = func(*args, **kwargs)
        finally:
            self.naming = True
        self.stack.pop()
        if call.events:
            call.callee, call.arguments = call_of(func, args, kwargs)
            call.inputs = _shapes(tensors_in((args, kwargs)))
            outputs = tensors_in(output)
            call.outputs = _shapes(outputs)
            call.output_bytes = self.fresh_bytes(outputs, call.start)
            above.events.append(call)
        return output

    def fresh_bytes(self, tensors: Iterable[Tensor], since: int) -> int:
        """Bytes of the distinct storages of those tensors that operators have allocated since then."""
        sizes: dict[int, int] = {}
        for tensor in tensors:
            storage = tensor.untyped_storage()
            address = storage._cdata
            if self.written.get(address, -1) >= since:
                sizes[address] = storage.nbytes()
        return sum(sizes.values())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        output = self.answer(func, args, kwargs)
        outputs = [output] if isinstance(output, Tensor) else tensors_in(output)
        output_bytes = 0
        if outputs and writes(func):
            # What else an operator returns, the indices of a pool, its caller may drop: the first is the result.
            output_bytes = outputs[0].untyped_storage().nbytes()
            for tensor in outputs:
                self.written[tensor.untyped_storage()._cdata] = self.operators
        self.operators += 1
        terms = products_of(func, args, kwargs, output)
        name = func.__name__.partition(".")[0]
        call = self.stack[-1]
        # The layers of torch that hold no others are one row: their operators need no shapes of their own.
        whole = isinstance(call.callee, nn.Module) and not call.callee._modules and not self.naming
        inputs, sizes = ((), ()) if whole else (_shapes(tensors_in(args)), _shapes(outputs))
        call.events.append(Operation(name, inputs, sizes, output_bytes, terms or (), terms is not None))
        return output


class _Functions(TorchFunctionMode):
    """Shows a trace the functions that are called by name."""

    def __init__(self, trace: Trace) -> None:
        super().__init__()
        self.trace = trace

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.trace.function(func, args, kwargs or {})


@cache
def _is_torchs(module: str) -> bool:
    return module.startswith(("torch.", "cnnprof.nets."))


def is_torchs(cls: type[nn.Module]) -> bool:
    """Whether a class computes as one of torch's layers, or of ours, does: its `forward` is not the user's."""
    return _is_torchs(cls.forward.__module__)


def is_parametrized(module: nn.Module) -> bool:
    """Whether weights of it are computed, by modules below `parametrizations`."""
    return "parametrizations" in module._modules


def stand_ins_of(modules: Mapping[nn.Module, str]) -> dict[str, Tensor]:
    """A tensor without data for each parameter and buffer that has some, by name. What is tied gets the same stand-in."""
    made: dict[Tensor, Tensor] = {}
    named: dict[str, Tensor] = {}
    for module, path in modules.items():
        if module._parameters or module._buffers:
            for name, tensor in chain(module._parameters.items(), module._buffers.items()):
                if tensor is not None and not tensor.is_meta:
                    if tensor not in made:
                        made[tensor] = torch.empty_like(tensor, device="meta")
                    named[f"{path}.{name}" if path else name] = made[tensor]
    return named


def tensors_in(value: Any) -> list[Tensor]:
    """The tensors in a structure of any kind, in order."""
    if isinstance(value, Tensor):
        return [value]
    found: list[Tensor] = []
    for item in value if type(value) in (tuple, list) else tree_leaves(value):
        if isinstance(item, Tensor):
            found.append(item)
        elif isinstance(item, tuple | list | dict) and item:
            found += tensors_in(item)
    return found


def _shapes(tensors: Iterable[Tensor]) -> tuple[Shape, ...]:
    """Their shapes without the first axis, the batch."""
    return tuple([tuple(tensor.shape[1:]) for tensor in tensors])
