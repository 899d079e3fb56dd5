"""One pass over a module on the meta device: hooks see every call of a module, a dispatch mode every operator.

A call notes what runs until it returns, in order: operators, and inner calls of modules and functions. Functions are noted where a
user's own `forward` calls them; what torch's layers call is their own affair.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import increment_version
from torch.nn.modules import module as module_hooks
from torch.overrides import TorchFunctionMode, _pop_mode, _push_mode

from cnnprof.errors import CnnprofError
from cnnprof.operators import MetaMode
from cnnprof.profiling.calls import AnyCall, Call, LayerCall, Operation
from cnnprof.profiling.describe import call_of
from cnnprof.profiling.elsewhere import met, stand_in
from cnnprof.profiling.inputs import of_sample
from cnnprof.profiling.ledger import History, Ledger, Place
from cnnprof.profiling.other_threads import noticed
from cnnprof.profiling.profile import Shape
from cnnprof.profiling.receptive_field import NO_FIELD, ReceptiveFields
from cnnprof.profiling.tensors import tensors_in
from cnnprof.profiling.torchs_code import HAS_TORCHS_FORWARD
from cnnprof.profiling.traced_operators import OPERATORS, Operator


class Failure(NamedTuple):
    """Where an error was raised."""

    error: int = 0
    """Its `id`: the error itself holds on to the tensors of all frames that it came through, and a checkpoint ends with one."""
    module: nn.Module | None = None
    function: str = ""
    """As one writes it, `x.item`; empty where none was noted."""


_FAILED = object()
_SEQUENCES = 3
"""The axes of a batch of sequences of vectors."""
_NO_KWARGS: Mapping[str, Any] = MappingProxyType({})


_EMPTY = torch.ops.aten.empty.memory_format
COMPILER = "torch._dynamo"
"""What torch's compiler is imported as: by a checkpoint, and by kernels that are written in Python."""
_autocasts = torch._C._is_any_autocast_enabled
_no_functions: Any = torch._C.DisableTorchFunction


class Trace(MetaMode):
    """What one pass did, as a tree of calls. `top` holds the module's own call; `ledger` has what was allocated and freed."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.top = Call(module, 0)
        self.stack = [self.top]
        self.modules: list[Call] = []
        """Those on the stack that are calls of modules."""
        self.called: dict[nn.Module, int] = {}
        """How often each module was called."""
        self.thread = threading.get_ident()
        self.failure = Failure()
        """The last error: an earlier one the network has caught."""
        self.autocast = False
        """Whether autocast was on somewhere. It does nothing on the meta device, and no operator tells of it."""
        self.shares = False
        """Whether it gave work to other threads, of which only calls of modules are seen."""
        self.ledger = Ledger()
        self.batch = 1
        """How many samples run at once: which axis of a tensor counts them."""
        self._shapes: dict[torch.Size, tuple[Shape]] = {}
        """Those of one tensor without the batch dimension: most are those of another too."""
        self.misread: list[nn.Module] = []
        """The layers that take the first axis for the sequence, where it is that of the batch."""
        self.on_meta = True
        """Whether the tensors of the pass have no data."""
        self.fields = ReceptiveFields()
        self.functions: _Functions | None = None
        self.shortcut: Callable[..., Any] | None = None
        """What may run a function in its own way, and note it: the result, or None for nothing done."""
        self.naming = False
        """Whether `functions` is on the stack of modes: only then a function call costs anything."""
        self.depth = 0
        """How many modes of others are below it: `torch.set_default_device` puts one at the bottom."""
        self.compiler = COMPILER in sys.modules
        """Whether torch's compiler was imported before."""

    def run(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], batch: int = 1) -> None:
        """Runs the module, whose parameters and buffers have to be on the device of the arguments."""
        module = self.top.callee
        assert isinstance(module, nn.Module)
        given = tensors_in((args, dict(kwargs)))
        self.batch = batch
        self.ledger.adopt(given)
        self.ledger.begin("forward")
        for tensor in given[:1]:
            self.fields.start(tensor)
        try:
            with self.hooked(), self:
                module(*args, **kwargs)
        finally:
            self.fields.forget()

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Follows the calls of all modules of this thread, so that no hook has to be put on the user's own.

        What other threads run is their own affair, unless it is of this network.
        """
        network = self.top.callee
        assert isinstance(network, nn.Module)
        parts: set[nn.Module] = set()

        def before_forward(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
            if threading.get_ident() == self.thread:
                return self.enter(module, args)
            if not parts:
                parts.update(network.modules())
            if module in parts:
                raise CnnprofError("its modules are called from several threads, and what runs in another one cannot be seen")
            return None

        def after_forward(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], *output: Any) -> None:
            if threading.get_ident() == self.thread:
                self.leave(module, args, kwargs, *output)

        before = module_hooks.register_module_forward_pre_hook(before_forward)  # type: ignore[arg-type]  # which may return others
        after = module_hooks.register_module_forward_hook(after_forward, with_kwargs=True, always_call=True)
        self.functions = _Functions(self)
        self.depth = torch._C._len_torch_function_stack()
        try:
            with noticed(partial(setattr, self, "shares", True)):
                yield
        finally:
            self.name_functions(False)
            self.functions = None  # or the two would keep each other, and all that was traced, alive
            before.remove()
            after.remove()
            module_hooks._global_forward_hooks_with_kwargs.pop(after.id, None)  # torch forgets that

    def enter(self, module: nn.Module, args: tuple[Any, ...], simple: bool = False) -> tuple[Any, ...] | None:
        """The hook before a module's `forward`. What a layer of torch's is given is all on meta, for some refuse the rest.

        `simple` is a `forward` that takes one tensor, which is on meta, and that sees to it itself that no functions are noted.
        """
        number = self.called.get(module, 0)
        self.called[module] = number + 1
        if _autocasts():
            self.autocast = True
        if self.failure.error:
            self.failure = Failure()  # somebody has caught that one
        torchs = HAS_TORCHS_FORWARD[type(module)]
        call = Call(module, self.ledger.runs, self.naming, number, torchs and not module._modules)
        self.stack[-1].events.append(call)
        self.stack.append(call)
        self.modules.append(call)
        if simple:
            return None
        if self.naming is torchs:
            self.name_functions(not torchs)
        if torchs and module.__dict__.get("batch_first") is False and self.has_batch_first(args):
            self.misread.append(module)
        return _with_stand_ins(args) if torchs and self.on_meta else None

    def has_batch_first(self, args: tuple[Any, ...]) -> bool:
        """Whether a layer that takes a sequence of batches is given a batch of sequences, as far as one can tell."""
        x = args[0] if args else None
        return isinstance(x, Tensor) and x.dim() == _SEQUENCES and x.shape[0] == self.batch != x.shape[1]

    def leave(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None, output: Any = _FAILED) -> None:
        """The hook after it. After an error torch calls it without an output."""
        if output is _FAILED:
            self.fail(sys.exc_info()[1])
            if self.stack[-1].callee is module:  # else the error came before `enter`
                self.modules.pop()
                self.name_functions(self.stack.pop().named)
            return
        call = self.stack.pop()
        self.modules.pop()
        self.complete(call, args, kwargs, output)
        if self.naming is not call.named:
            self.name_functions(call.named)

    def call(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], simple: Callable[..., Any] | None = None
    ) -> Any:
        """What a module's `forward` returns, with the two hooks around it, as torch calls them where there are no others.

        `simple` is what does the same in its place, see `enter`.
        """
        try:
            args = self.enter(module, args, simple is not None) or args
            output = (simple or module.forward)(*args, **kwargs)
        except Exception:
            self.leave(module, args, None)
            raise
        self.leave(module, args, kwargs, output)
        return output

    def layer(
        self, module: nn.Module, x: Tensor, operator: Operator, args: tuple[Any, ...], output: Tensor, follows: bool = False
    ) -> None:
        """Notes a layer that did nothing but to run that operator, which makes one tensor, as the hooks and the mode would note it.

        `follows` is whether the call that was noted last has returned `x`; the last one's output is to be given to `settle`.
        """
        name, _, products, known, new, _, following = operator
        assert following is not None  # it takes a tensor
        number = self.called.get(module, 0)
        self.called[module] = number + 1
        terms = products(args, _NO_KWARGS, output) if products else ()
        field = self.fields.of_layer(following, args, output, follows)
        ledger = self.ledger
        run = ledger.runs = ledger.runs + 1
        events = self.stack[-1].events
        inputs = events[-1].outputs if follows else self.shape(x)
        sizes = inputs if following.passes_on else self.shape(output)  # element by element of `x`
        call = LayerCall(name, inputs, sizes, 0, terms, known, field, run, module, number)
        if new:
            call.output_bytes = ledger.replace(output, name, call)
        else:
            increment_version(output)  # or autograd would not know that it has changed in place
        events.append(call)

    def settle(self, output: Tensor) -> None:
        """Notes that others than `layer` get what it returned last."""
        self.fields.settle(output)
        self.ledger.watch(output)

    def binary(self, sign: str, operator: Operator, args: tuple[Tensor, Tensor], output: Tensor) -> None:
        """Notes `x + y`, or another of these operators, as the modes would note the function and the operator."""
        name, _, products, known, new, _, following = operator
        assert following is not None
        outputs = (output,)
        self.fields.follow(following, args, _NO_KWARGS, outputs)
        ledger = self.ledger
        start = ledger.runs
        ledger.runs = run = start + 1
        size = 0
        if new:
            size = ledger.add(output, name, self.caller())
        else:
            increment_version(output)
        terms, field = products(args, _NO_KWARGS, output) if products else (), self.fields.of(outputs)
        inputs, sizes = self.shapes(args), self.shape(output)
        ran = Operation(name, inputs, sizes, size, terms, known, field, run)
        call = Call(sign, start, inputs=inputs, outputs=sizes, output_bytes=size, field=field, events=[ran])
        self.stack[-1].events.append(call)

    def idle(self, module: nn.Module, x: Tensor, follows: bool = False) -> Tensor:
        """The same of a layer that runs no operator: `x`."""
        number = self.called.get(module, 0)
        self.called[module] = number + 1
        shapes, field = self.shape(x), self.fields.of_idle(x, follows)
        self.stack[-1].events.append(Call(module, self.ledger.runs, self.naming, number, True, "", shapes, shapes, 0, field))
        return x

    def name_functions(self, on: bool) -> None:
        """Switches the mode that sees function calls on or off, below those of a `forward`: `with torch.device(...)` is one."""
        if on == self.naming:
            return
        self.naming = on
        assert self.functions is not None  # in `hooked`
        above = []
        if on:
            while torch._C._len_torch_function_stack() > self.depth:
                above.append(_pop_mode())
            _push_mode(self.functions)
        else:
            while (mode := _pop_mode()) is not self.functions:
                above.append(mode)
            self.depth = torch._C._len_torch_function_stack()
        for mode in reversed(above):
            _push_mode(mode)

    def function(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of a function that a user's `forward` calls. What ran no operator leaves no trace."""
        if _autocasts():
            self.autocast = True
        if self.shortcut is not None and (output := self.shortcut(func, args, kwargs)) is not None:
            return output
        above = self.stack[-1]
        call = Call("", self.ledger.runs)
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
            self.complete(call, args, kwargs, output)
            above.events.append(call)

    def complete(self, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any] | None, output: Any) -> None:
        """Notes what the call was given and what it returned."""
        with _no_functions():  # nobody is to see the shapes being read here
            call.inputs = self.shapes(tensors_in((args, kwargs)) if kwargs else tensors_in(args))
            outputs = tensors_in(output)
            call.outputs = self.shapes(outputs)
            call.output_bytes = self.ledger.fresh_bytes(outputs, call.start)
            call.field = self.fields.of(outputs)

    def fail(self, error: BaseException | None, function: str = "") -> None:
        """Keeps where an error was first seen: innermost."""
        if self.failure.error != id(error):
            module = next((call.callee for call in reversed(self.stack) if isinstance(call.callee, nn.Module)), None)
            self.failure = Failure(id(error), module, function)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is _EMPTY and args[0] == [0]:
            return self.answer(func, args, kwargs)  # a reserve of no bytes, which torch.batch_norm makes for cuDNN
        name, make, products, known, new, moves, following = OPERATORS[func]
        call = self.stack[-1]
        noted = len(call.events)
        try:
            output = make(*args, **kwargs)
            if output is None:
                output = self.answer(func, args, kwargs)
        except Exception:
            moved = met(func, args, kwargs)
            if moved is None:
                raise
            del call.events[noted:]
            args, kwargs = moved
            output = self.answer(func, args, kwargs)
        if not self.compiler and COMPILER in sys.modules:
            self.let_go()
        outputs = [output] if type(output) is Tensor else tensors_in(output)
        if following is not None:
            self.fields.follow(following, args, kwargs, outputs)
        ledger = self.ledger
        ledger.runs += 1
        output_bytes = 0
        if new:
            ledger.note(name, self.caller(), outputs)
            # What else an operator returns, the indices of a pool, its caller may drop: the first is the result.
            output_bytes = outputs[0].untyped_storage().nbytes() if outputs else 0
        elif moves:
            ledger.note(name, self.caller(), outputs, lambda: tensors_in((args, kwargs)))
        terms = products(args, kwargs, output) if products else ()
        inputs: tuple[Shape, ...] = ()
        sizes: tuple[Shape, ...] = ()
        field = NO_FIELD
        if not call.whole:
            if name.startswith("_record_function"):
                return output  # a mark for torch's own profiler
            inputs, sizes, field = self.shapes(tensors_in(args)), self.shapes(outputs), self.fields.of(outputs)
        call.events.append(Operation(name, inputs, sizes, output_bytes, terms, known, field, ledger.runs))
        return output

    def let_go(self) -> None:
        """Frees what the import of torch's compiler left: the frames from which it came, in a cycle that keeps tensors alive."""
        self.compiler = True
        gc.collect()

    def shapes(self, tensors: Sequence[Tensor]) -> tuple[Shape, ...]:
        """Their shapes without the batch dimension."""
        if len(tensors) == 1:
            return self.shape(tensors[0])
        return tuple([of_sample(tuple(tensor.shape), self.batch) for tensor in tensors])

    def shape(self, tensor: Tensor) -> tuple[Shape]:
        """The same of one tensor."""
        shape = tensor.shape
        known = self._shapes.get(shape)
        if known is None:
            known = self._shapes[shape] = (of_sample(tuple(shape), self.batch),)
        return known

    def caller(self) -> Call | None:
        """The call of a module that runs the operators now, the innermost; None outside of all."""
        return self.modules[-1] if self.modules else None

    def history(self, paths: Mapping[nn.Module, str]) -> History:
        """What was allocated and freed so far, and where; to be called once. `paths` names the modules."""
        return self.ledger.close(partial(place, paths))


def place(paths: Mapping[nn.Module, str], call: AnyCall | None) -> Place | None:
    """Where the call of a module stands."""
    if call is None:
        return None
    assert isinstance(call.callee, nn.Module)
    return Place(paths.get(call.callee, ""), call.number)


class _Functions(TorchFunctionMode):
    """Shows a trace the functions that are called by name."""

    def __init__(self, trace: Trace) -> None:
        super().__init__()
        self.trace = trace

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.trace.function(func, args, kwargs or {})


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
