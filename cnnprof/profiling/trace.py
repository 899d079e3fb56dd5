"""One pass over a module on the meta device: hooks see every call of a module, a dispatch mode every operator.

A call notes what runs until it returns, in order: operators, and inner calls of modules and functions. Functions are noted where a
user's own `forward` calls them; what torch's layers call is their own affair.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from dataclasses import field as field_of
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules import module as module_hooks
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import SUPPORTED_NODES, tree_leaves

from cnnprof.errors import CnnprofError
from cnnprof.operators import MetaMode, writes
from cnnprof.operators.table import RULES
from cnnprof.profiling.describe import call_of
from cnnprof.profiling.elsewhere import met, stand_in
from cnnprof.profiling.profile import Shape, Term
from cnnprof.profiling.receptive_field import NO_FIELD, Field, ReceptiveFields


@dataclass(slots=True)
class Operation:
    """One operator that ran."""

    operator: str
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    output_bytes: int
    terms: tuple[Term, ...]
    known: bool
    field: Field = NO_FIELD
    """The receptive field of its first output."""


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
    field: Field = NO_FIELD
    """The receptive field of its first output."""
    events: list[Operation | Call] = field_of(default_factory=list)

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


class Failure(NamedTuple):
    """Where an error was raised."""

    error: BaseException | None = None
    module: nn.Module | None = None
    function: str = ""
    """As one writes it, `x.item`; empty where none was noted."""


_FAILED = object()


class Trace(MetaMode):
    """What one pass did, as a tree of calls. `top` holds the module's own call."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.top = Call(module, 0)
        self.stack = [self.top]
        self.called: set[nn.Module] = set()
        self.thread = threading.get_ident()
        self.failure = Failure()
        """The last error: an earlier one the network has caught."""
        self.operators = 0
        self.written: dict[int, int] = {}
        """For each storage that an operator allocated, by its address, the number of that operator."""
        self.fields = ReceptiveFields()
        self.functions = _Functions(self)
        self.naming = False
        """Whether `functions` is on the stack of modes: only then a function call costs anything."""

    def run(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], stand_ins: Mapping[str, Tensor]) -> None:
        """Runs the module with hooks on every module of the process, so that none has to be put on the user's modules.

        `stand_ins` take the place of parameters and buffers that are not on the meta device, by name.
        """
        module = self.top.callee
        assert isinstance(module, nn.Module)
        before = module_hooks.register_module_forward_pre_hook(self.enter)  # type: ignore[arg-type]  # which may return other arguments
        after = module_hooks.register_module_forward_hook(self.leave, with_kwargs=True, always_call=True)
        for tensor in tensors_in((args, dict(kwargs)))[:1]:
            self.fields.start(tensor)
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
            module_hooks._global_forward_hooks_with_kwargs.pop(after.id, None)  # torch forgets that
            self.fields.forget()

    def enter(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """The hook before a module's `forward`. What a layer of torch's is given is all on meta, for some refuse the rest."""
        if threading.get_ident() != self.thread:
            raise CnnprofError("it calls its modules from several threads, and what runs in another one cannot be seen")
        call = Call(module, self.operators, self.naming)
        self.stack[-1].events.append(call)
        self.stack.append(call)
        self.called.add(module)
        torchs = is_torchs(type(module))
        self.name_functions(not torchs)
        return _with_stand_ins(args) if torchs else None

    def leave(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None, output: Any = _FAILED) -> None:
        """The hook after it. After an error torch calls it without an output."""
        if output is _FAILED:
            self.fail(sys.exc_info()[1])
            if self.stack[-1].callee is module:  # else the error came before `enter`
                self.name_functions(self.stack.pop().named)
            return
        call = self.stack.pop()
        self.name_functions(call.named)
        call.inputs = _shapes(tensors_in((args, kwargs)) if kwargs else tensors_in(args))
        outputs = tensors_in(output)
        call.outputs = _shapes(outputs)
        call.output_bytes = self.fresh_bytes(outputs, call.start)
        call.field = self.fields.of(outputs)

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
        output = None
        try:
            output = func(*args, **kwargs)
        except Exception as error:
            self.fail(error, call_of(func, args, kwargs)[0])
            raise
        finally:
            self.naming = True
            self.stack.pop()
            self.note(call, above, func, args, kwargs, output)
        return output

    def note(self, call: Call, above: Call, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        """Completes the call of a function, and puts it where it belongs."""
        if call.events:
            call.callee, call.arguments = call_of(func, args, kwargs)
            call.inputs = _shapes(tensors_in((args, kwargs)))
            outputs = tensors_in(output)
            call.outputs = _shapes(outputs)
            call.output_bytes = self.fresh_bytes(outputs, call.start)
            call.field = self.fields.of(outputs)
            above.events.append(call)

    def fail(self, error: BaseException | None, function: str = "") -> None:
        """Keeps where an error was first seen: innermost."""
        if self.failure.error is not error:
            module = next((call.callee for call in reversed(self.stack) if isinstance(call.callee, nn.Module)), None)
            self.failure = Failure(error, module, function)

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
        events = self.stack[-1].events
        noted = len(events)
        try:
            output = self.answer(func, args, kwargs)
        except Exception:
            moved = met(func, args, kwargs)
            if moved is None:
                raise
            del events[noted:]
            args, kwargs = moved
            output = self.answer(func, args, kwargs)
        outputs = [output] if isinstance(output, Tensor) else tensors_in(output)
        self.fields.follow(func, args, kwargs, outputs)
        output_bytes = 0
        known = RULES[func]
        if outputs and (writes(func) if known is None else known.writes):
            # What else an operator returns, the indices of a pool, its caller may drop: the first is the result.
            output_bytes = outputs[0].untyped_storage().nbytes()
            for tensor in outputs:
                self.written[tensor.untyped_storage()._cdata] = self.operators
        self.operators += 1
        terms = None if known is None else known.products(args, kwargs, output) if known.products else ()
        name = func.__name__.partition(".")[0]
        if name.startswith("_record_function"):
            return output  # a mark for torch's own profiler
        call = self.stack[-1]
        # The layers of torch that hold no others are one row: their operators need no shapes of their own.
        whole = isinstance(call.callee, nn.Module) and not call.callee._modules and not self.naming
        inputs, sizes = ((), ()) if whole else (_shapes(tensors_in(args)), _shapes(outputs))
        field = NO_FIELD if whole else self.fields.of(outputs)
        call.events.append(Operation(name, inputs, sizes, output_bytes, terms or (), terms is not None, field))
        return output


class _Functions(TorchFunctionMode):
    """Shows a trace the functions that are called by name."""

    def __init__(self, trace: Trace) -> None:
        super().__init__()
        self.trace = trace

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.trace.function(func, args, kwargs or {})


_TORCHS: dict[type[nn.Module], bool] = {}


def is_torchs(cls: type[nn.Module]) -> bool:
    """Whether a class computes as one of torch's layers, or of ours, does: its `forward` is not the user's."""
    known = _TORCHS.get(cls)
    if known is None:
        forward = getattr(cls, "forward", None)  # a scripted module's class has none
        home = getattr(forward, "__module__", "torch.") or ""
        known = _TORCHS[cls] = home.startswith(("torch.", "cnnprof.nets."))
    return known


def is_parametrized(module: nn.Module) -> bool:
    """Whether weights of it are computed, by modules below `parametrizations`."""
    return "parametrizations" in module._modules


_LAZY = frozenset({UninitializedParameter, UninitializedBuffer})


def stand_ins_of(modules: Mapping[nn.Module, str]) -> dict[str, Tensor]:
    """A tensor without data for each parameter and buffer that has some, by name. What is tied gets the same stand-in."""
    made: dict[Tensor, Tensor] = {}
    named: dict[str, Tensor] = {}
    for module, path in modules.items():
        if isinstance(module, torch.jit.ScriptModule):
            continue  # its parameters live in C++
        if module._parameters or module._buffers:
            for name, tensor in chain(module._parameters.items(), module._buffers.items()):
                if type(tensor) in _LAZY:
                    raise CnnprofError("a lazy module gets its sizes from its first call: run it once on an input")
                if tensor is not None and not tensor.is_meta:
                    if tensor not in made:
                        made[tensor] = stand_in(tensor)
                    named[f"{path}.{name}" if path else name] = made[tensor]
    return named


_is_wrapped = torch._C._functorch.is_functorch_wrapped_tensor


def tensors_in(value: Any) -> list[Tensor]:
    """The tensors in a structure of any kind, in order."""
    if type(value) is Tensor and not _is_wrapped(value):
        return [value]
    found: list[Tensor] = []
    _collect(value, found)
    return found


def _collect(value: Any, found: list[Tensor]) -> None:
    if isinstance(value, Tensor):
        while _is_wrapped(value):
            value = torch._C._functorch.get_unwrapped(value)  # what vmap and grad hand on has no storage
        found.append(value)
    elif isinstance(value, tuple | list):
        for item in value:
            _collect(item, found)
    elif isinstance(value, Mapping):
        for item in value.values():
            _collect(item, found)
    elif is_dataclass(value) and not isinstance(value, type):
        for part in fields(value):
            _collect(getattr(value, part.name, None), found)
    elif type(value) in SUPPORTED_NODES:
        for leaf in tree_leaves(value):
            _collect(leaf, found)


def _with_stand_ins(args: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """The arguments with a stand-in for each tensor that is not on meta; None where all are."""
    for item in args:
        if type(item) is not Tensor or not item.is_meta:
            break
    else:
        return None
    if all(tensor.is_meta for tensor in tensors_in(args)):
        return None
    # The batch sizes of a packed sequence are values, even if the sequence has none.
    return tuple(
        stand_in(item) if isinstance(item, Tensor) else (_with_stand_ins(item) or item) if type(item) is tuple else item
        for item in args
    )


def _shapes(tensors: Iterable[Tensor]) -> tuple[Shape, ...]:
    """Their shapes without the first axis, the batch."""
    return tuple([tuple(tensor.shape[1:]) for tensor in tensors])
