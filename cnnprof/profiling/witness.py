"""A trace that keeps more than products need: with what each operator, function and module was called.

What other tools count depends on it: on the class of a module, the function under which an operator runs, whether there is a bias.
Seeing every function takes several times as long as a plain trace, so only what asks for it pays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

from cnnprof.profiling.calls import AnyCall, Call, Operation
from cnnprof.profiling.tensors import tensors_in
from cnnprof.profiling.trace import Trace


@dataclass(slots=True)
class Invocation:
    """What was called with what. Tensors are their sizes, as `torch.Size`, batch included."""

    called: Any
    """The operator, the function as torch's overrides know it, or the module."""
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    outputs: tuple[torch.Size, ...] = ()
    operators: list[str] = field(default_factory=list)
    """The names of the operators that a function ran."""

    def argument(self, place: int, name: str) -> Any:
        """What was passed there, by position or by name; None where nothing was."""
        return self.args[place] if place < len(self.args) else self.kwargs.get(name)

    def size(self, place: int, name: str = "input") -> torch.Size | None:
        """The sizes of the tensor passed there; None where there is none."""
        given = self.argument(place, name)
        return given if isinstance(given, torch.Size) else None


@dataclass(frozen=True, slots=True)
class Seen:
    """What a witness knows of an operator."""

    operator: Invocation
    function: Invocation | None
    """The outermost function of torch's under which it ran: `F.multi_head_attention_forward`, not the `F.linear` in it."""
    module: nn.Module | None
    """The innermost module that ran."""
    leads: bool
    """Whether it is the first operator of that function: what counts by functions counts here."""


class Witness(Trace):
    """Notes what was seen of each operator in `operations`, and of each call of a module in `calls`, in the order of returning."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self.operations: dict[int, Seen] = {}
        self.calls: dict[int, tuple[Call, Invocation]] = {}
        self.running: Invocation | None = None

    def run(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], batch: int = 1) -> None:
        """As `Trace.run`. The mode is the lowest one, so that it sees the functions that the trace itself hands on."""
        with _Watching(self):
            super().run(args, kwargs, batch)

    def seen(self, operation: Operation) -> Seen:
        """What is known of an operator that ran."""
        return self.operations[id(operation)]

    def invocation(self, call: AnyCall) -> Invocation | None:
        """How a module was called; None for a function, and for a module that did not return."""
        return self.calls[id(call)][1] if id(call) in self.calls else None

    def leave(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None, *output: Any) -> None:
        """The hook after a module's `forward`, with its output if there is one."""
        call = self.stack[-1]
        super().leave(module, args, kwargs, *output)
        if output:
            self.calls[id(call)] = call, Invocation(module, _sized(args), _sized(kwargs or {}), _sizes(output))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        events = self.stack[-1].events
        before = len(events)
        output = super().__torch_dispatch__(func, types, args, kwargs)
        operation = events[-1] if len(events) > before else None
        if not isinstance(operation, Operation):
            return output  # nothing that costs anything
        function = self.running
        leads = function is not None and not function.operators
        if function is not None:
            function.operators.append(operation.operator)
        module = next((call.callee for call in reversed(self.stack) if isinstance(call.callee, nn.Module)), None)
        called = Invocation(func, _sized(args), _sized(kwargs or {}), _sizes(output))
        self.operations[id(operation)] = Seen(called, function, module, leads)
        return output


class _Watching(TorchFunctionMode):
    """Shows a witness every function of torch's that is called from outside of torch's functions."""

    def __init__(self, witness: Witness) -> None:
        super().__init__()
        self.witness = witness

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        witness, kwargs = self.witness, kwargs or {}
        above = witness.running
        running = witness.running = Invocation(func, _sized(args), _sized(kwargs))
        try:
            output = func(*args, **kwargs)
        finally:
            witness.running = above
        running.outputs = _sizes(output)
        return output


def _sized(arguments: Any) -> Any:
    return tree_map_only(Tensor, lambda tensor: tensor.shape, arguments)


def _sizes(output: Any) -> tuple[torch.Size, ...]:
    return tuple([tensor.shape for tensor in tensors_in(output)])


def operations_by_module(call: Call, paths: Mapping[nn.Module, str]) -> Iterator[tuple[str, Operation]]:
    """Every operator that ran in a call, in order, with the path of the innermost module that has one."""
    waiting: list[tuple[str, Operation | Call]] = [("", call)]
    while waiting:
        path, event = waiting.pop()
        if isinstance(event, Operation):
            yield path, event
            continue
        inner = paths.get(event.callee, path) if isinstance(event.callee, nn.Module) else path
        waiting += [(inner, below) for below in reversed(event.events)]
