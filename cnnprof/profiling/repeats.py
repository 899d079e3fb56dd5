"""A trace that runs like layers on like inputs once: a deep network has few kinds of them, each many times.

What one of torch's layers makes of a tensor without data follows from its arguments, the sizes of its parameters and those of the
tensor. Where a single operator does it, and nobody else can be watching, the next such layer is noted as if it had run.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules import module as module_hooks

from cnnprof.profiling.describe import attributes_of
from cnnprof.profiling.receptive_field import Followed, is_followed
from cnnprof.profiling.trace import OPERATORS, Call, Failure, Operation, Trace, tensors_in

Kind: TypeAlias = "tuple[Any, ...]"
"""All that the outcome of a call follows from."""


class Ran(NamedTuple):
    """An operator that ran, without its tensors: who keeps them changes when they are freed."""

    func: Any
    simple: bool
    """Whether it was given the input of its layer, and beside it nothing but what is the layer's own."""
    arguments: Sequence[Any]
    """Those beside the input, where it is simple."""
    output: weakref.ref[Tensor] | None
    """What it returned; None where that was not a tensor by itself."""


class Outcome(NamedTuple):
    """What calls of a kind do."""

    like: Call
    """The first of them."""
    operation: Operation | None = None
    """What ran; None where nothing had to, as in `Dropout`."""
    output: tuple[torch.Size, tuple[int, ...], torch.dtype] | None = None
    """Sizes, strides and dtype of the tensor that it makes; None where it returns its input."""
    followed: Followed | None = None
    """The operator, where its output depends on more than its input does."""
    arguments: Sequence[Any] = ()
    """Those that the operator is given beside its input, where it is `followed`."""


class Repeating(Trace):
    """A trace that need not run a layer whose kind it has seen: without gradients, with all parameters and buffers on meta."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self.outcomes: dict[Kind, Outcome] = {}
        self.others: set[type[nn.Module]] = set()
        """Classes of which a call did more than can be repeated."""
        self.learning: tuple[nn.Module, Tensor, list[Ran]] | None = None
        """In a call of a new kind: the layer, its input, and what ran so far."""

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """As `Trace.hooked`, and answers the calls that are repeated, which no hook sees."""
        run = nn.Module.__call__
        watched = run is not _CALL or bool(module_hooks._global_forward_hooks or module_hooks._global_forward_pre_hooks)

        def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            with torch._C.DisableTorchFunction():  # it would see every look at a tensor
                kind = None if kwargs or len(args) != 1 else self.kind(module, args[0])
                try:
                    outcome = self.outcomes.get(kind) if kind else None
                except TypeError:  # an attribute that cannot be looked up, a list for one
                    kind = outcome = None
                if outcome:
                    return self.repeat(outcome, module, args[0])
            return self.learn(kind, module, args[0], run) if kind else run(module, *args, **kwargs)

        with super().hooked():
            if not watched:
                nn.Module.__call__ = call  # type: ignore[method-assign]
            try:
                yield
            finally:
                nn.Module.__call__ = run  # type: ignore[method-assign]

    def kind(self, module: nn.Module, x: Any) -> Kind | None:
        """The kind of a call that may be repeated; None of one that has to run."""
        cls: Any = type(module)
        names, methods = _layer(cls)
        if cls in self.others or not names or not _is_plain(x) or not self.is_alone():
            return None
        own = module.__dict__
        if own["_modules"] or own["_forward_hooks"] or own["_forward_pre_hooks"] or not methods.isdisjoint(own):
            return None
        values = [*map(own.get, names)]
        kind = [cls, *values, *map(type, values), x.dtype, x.shape, x.stride()]
        for tensor in (*own["_parameters"].values(), *own["_buffers"].values()):
            if tensor is None:
                kind.append(None)
            elif is_followed(tensor):
                return None  # computed from the input
            else:
                kind += (tensor.dtype, tensor.shape, tensor.stride(), tensor.requires_grad)
        return tuple(kind)

    def is_alone(self) -> bool:
        """Whether nobody but the trace could tell if operators ran now, and they would do what they did before."""
        return (
            torch._C._len_torch_dispatch_stack() == 1
            and torch._C._len_torch_function_stack() <= self.naming
            and torch._C._functorch.peek_interpreter_stack() is None
            and not torch.is_grad_enabled()
            and not torch.is_inference_mode_enabled()
            and not torch._C._is_any_autocast_enabled()
            and not self.fields.tainted
            and threading.get_ident() == self.thread
        )

    def learn(self, kind: Kind, module: nn.Module, x: Tensor, run: Any) -> Any:
        """The output of a call of a new kind. It runs, and what it did is kept."""
        before = self.ledger.counts
        ran: list[Ran] = []
        self.learning = module, x, ran
        try:
            output = run(module, x)
        finally:
            self.learning = None
        call = self.stack[-1].events[-1]
        made = tuple([now - then for now, then in zip(self.ledger.counts, before, strict=True)])
        outcome = self.outcome(call, x, output, ran, made) if isinstance(call, Call) and call.whole else None
        if outcome:
            self.outcomes[kind] = outcome
        else:
            self.others.add(type(module))
        return output

    def outcome(self, call: Call, x: Tensor, output: Any, ran: Sequence[Ran], made: tuple[int, ...]) -> Outcome | None:
        """What a call did that has just returned, with how many allocations and events; None where that was not simple."""
        if not call.events:
            return Outcome(call) if output is x and made == (0, 0) else None
        if len(call.events) != 1 or len(ran) != 1 or not ran[0].simple:
            return None
        operation, (func, _, arguments, returned) = call.events[0], ran[0]
        assert isinstance(operation, Operation)
        followed = OPERATORS[func].followed
        passed_on = followed is not None and self.fields.passes_on(followed, (x, *arguments))
        if output is x:
            return Outcome(call, operation) if passed_on and made == (0, 0) else None
        if not _is_plain(output) or made != (1, 1) or not self.ledger.is_last(output) or _bytes(output) != operation.output_bytes:
            return None
        spec = output.shape, output.stride(), output.dtype
        if passed_on and output.shape == x.shape:
            return Outcome(call, operation, spec)
        is_known = returned is not None and returned() is output and followed is not None and not followed.writes
        return Outcome(call, operation, spec, followed, arguments) if is_known else None

    def repeat(self, outcome: Outcome, module: nn.Module, x: Tensor) -> Tensor:
        """The output of a call whose outcome is known, noted as if it had run."""
        like, operation, spec, followed, arguments = outcome
        number = self.called.get(module, 0)
        self.called[module] = number + 1
        if self.failure.error:
            self.failure = Failure()
        ledger, fields = self.ledger, self.fields
        call = Call(module, ledger.runs, self.naming, number, True, "", like.inputs, like.outputs, like.output_bytes, like=like)
        self.stack[-1].events.append(call)
        output = x
        if operation is not None:
            ledger.runs += 1
            if spec is not None:
                sizes, strides, dtype = spec
                with torch._C._DisableTorchDispatch():
                    output = torch.empty_strided(sizes, strides, dtype=dtype, device=_META)
                ledger.note(operation.operator, call, (output,))
                if followed is None:
                    fields.pass_on(x, output)
                else:
                    fields.follow(followed, (x, *arguments), {}, (output,))
            name, terms, known, written = operation.operator, operation.terms, operation.known, operation.output_bytes
            call.events.append(Operation(name, (), (), written, terms, known, run=ledger.runs))
        call.field = fields.of((output,))
        return output

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.learning is None:
            return super().__torch_dispatch__(func, types, args, kwargs)
        module, x, ran = self.learning
        before = self.ledger.runs
        output = super().__torch_dispatch__(func, types, args, kwargs)
        if self.ledger.runs > before:
            own = {id(tensor) for tensors in (module._parameters, module._buffers) for tensor in tensors.values()}
            simple = not kwargs and len(args) > 0 and args[0] is x and all(id(tensor) in own for tensor in tensors_in(args[1:]))
            ran.append(Ran(func, simple, args[1:] if simple else (), weakref.ref(output) if isinstance(output, Tensor) else None))
        return output


_CALL = nn.Module.__call__
_META = torch.device("meta")


@cache
def _layer(cls: type[nn.Module]) -> tuple[Sequence[str], frozenset[str]]:
    """What the outcome of a layer of torch's depends on, by name, nothing for another class; and all that the class has, which a
    layer may hide with its own: `forward`, say."""
    names = attributes_of(cls)
    return ("training", *names) if names is not None else (), frozenset(dir(cls))


def _is_plain(value: Any) -> bool:
    return type(value) is Tensor and value.is_meta and not torch._C._functorch.is_functorch_wrapped_tensor(value)


def _bytes(tensor: Tensor) -> int:
    """Those from its first element to its last."""
    return (1 + sum([(size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True)])) * tensor.itemsize
