"""One pass over a module on the meta device, and what it saw: hooks give the rows, a dispatch mode every operator.

A module call opens a frame, and what runs until it returns is noted there in order: calls of other modules, and operators. A frame
without inner calls is a layer; in a frame with inner calls each operator becomes a layer of its own. So only leaves cost.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules import module as module_hooks
from torch.utils._pytree import tree_leaves

from cnnprof.errors import CnnprofError
from cnnprof.operators import MetaMode, products_of, writes
from cnnprof.profiling.describe import arguments_of, kind_of
from cnnprof.profiling.profile import Cost, Layer, Profile, Shape, Term


class ProfileError(CnnprofError):
    """A module that cannot be run without data. The message names the layer at which it stopped."""


def profile(module: nn.Module, input_shape: Shape, *, batch: int = 1, name: str = "", dtype: torch.dtype | None = None) -> Profile:
    """A `Profile` of what `module` costs for a batch of inputs of that shape.

    `input_shape` has no batch dimension: `(3, 224, 224)`. The pass runs on the meta device, where tensors have shapes and no data,
    in `eval()` mode and without gradients; the modes of the module are restored. Raises `ProfileError` where the module cannot be
    run so.

    >>> import cnnprof, torch
    >>> prof = cnnprof.profile(torch.nn.Linear(256, 200), (256,))
    >>> prof.params, prof.products
    (51400, 51200)
    """
    if batch < 1 or any(size < 1 for size in input_shape):
        raise ProfileError(f"batch and input sizes are at least 1, not {batch} and {_text(input_shape)}")
    modules = {part: path for path, part in module.named_modules()}
    dtype = dtype or _dtype(modules)
    trace = _Trace(module, modules)
    with torch.no_grad(), _evaluating(modules), _collector_off():
        try:
            x = torch.empty((batch, *input_shape), device="meta", dtype=dtype)
        except RuntimeError as error:
            raise ProfileError(f"an input of {batch}x{_text(input_shape)} is too large") from error
        trace.run(x)
        root = _Rows(trace).root()
    return Profile(name or kind_of(module), (tuple(input_shape),), batch, str(dtype).removeprefix("torch."), root)


def _dtype(modules: Iterable[nn.Module]) -> torch.dtype:
    """That of the first parameter with fractions, torch's default where there is none."""
    parameters = (parameter for module in modules for parameter in module._parameters.values() if parameter is not None)
    return next((parameter.dtype for parameter in parameters if parameter.is_floating_point()), torch.get_default_dtype())


@contextmanager
def _evaluating(modules: Iterable[nn.Module]) -> Iterator[None]:
    """`eval()`, and each module's own mode again afterwards."""
    in_training = [module for module in modules if module.training]
    for module in in_training:
        module.training = False
    try:
        yield
    finally:
        for module in in_training:
            module.training = True


@contextmanager
def _collector_off() -> Iterator[None]:
    """A collection in the middle of the pass costs more than the pass; reference counts free the tensors."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@dataclass(slots=True)
class _Operation:
    """One operator that ran."""

    operator: str
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    output_bytes: int
    terms: tuple[Term, ...]
    known: bool


@dataclass(slots=True)
class _Frame:
    """One call of a module, or the part of it that has run."""

    module: nn.Module
    start: int
    """How many operators had run before."""
    events: list[_Operation | _Frame] = field(default_factory=list)
    inputs: tuple[Shape, ...] = ()
    outputs: tuple[Shape, ...] = ()
    output_bytes: int = 0


class _Trace(MetaMode):
    """What one pass did, as a tree of frames."""

    def __init__(self, module: nn.Module, modules: dict[nn.Module, str]) -> None:
        super().__init__()
        self.module = module
        self.paths = modules
        self.top = _Frame(module, 0)
        self.stack = [self.top]
        self.operators = 0
        self.written: dict[int, int] = {}
        """For each storage that an operator allocated, by its address, the number of that operator."""

    def run(self, *inputs: Any) -> None:
        """Runs the module with hooks on every module of the process, so that none has to be put on the user's modules."""
        before = module_hooks.register_module_forward_pre_hook(self.enter)
        after = module_hooks.register_module_forward_hook(self.leave)
        try:
            stand_ins = _stand_ins(self.paths)
            with self:
                if stand_ins:
                    functional_call(self.module, stand_ins, inputs, tie_weights=False)
                else:
                    self.module(*inputs)
        except Exception as error:
            raise ProfileError(self.message(error)) from error
        finally:
            before.remove()
            after.remove()

    def message(self, error: Exception) -> str:
        frame = self.stack[-1]
        where = self.paths.get(frame.module, "")
        what = f"{where} ({frame.module})" if where else kind_of(frame.module)
        return f"cannot run {what} without data: {str(error).strip() or type(error).__name__}"

    def enter(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        frame = _Frame(module, self.operators)
        frame.inputs = _shapes(_tensors(inputs))
        self.stack[-1].events.append(frame)
        self.stack.append(frame)

    def leave(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        frame = self.stack.pop()
        frame.outputs = _shapes(_tensors(output))
        frame.output_bytes = self.fresh_bytes(output, frame.start)

    def fresh_bytes(self, output: Any, since: int) -> int:
        """Bytes of the distinct storages behind `output` that operators have allocated since then."""
        sizes: dict[int, int] = {}
        for tensor in _tensors(output):
            storage = tensor.untyped_storage()
            if self.written.get(storage._cdata, -1) >= since:
                sizes[storage._cdata] = storage.nbytes()
        return sum(sizes.values())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        output = self.answer(func, args, kwargs)
        outputs = _tensors(output)
        output_bytes = 0
        if outputs and writes(func):
            # What else an operator returns, the indices of a pool, its caller may drop: the first is the result.
            output_bytes = outputs[0].untyped_storage().nbytes()
            for tensor in outputs:
                self.written[tensor.untyped_storage()._cdata] = self.operators
        self.operators += 1
        terms = products_of(func, args, kwargs, output)
        name = func.__name__.partition(".")[0]
        shapes = _shapes(_tensors(args)), _shapes(outputs)
        self.stack[-1].events.append(_Operation(name, *shapes, output_bytes, terms or (), terms is not None))
        return output


def _stand_ins(modules: dict[nn.Module, str]) -> dict[str, Tensor]:
    """A tensor without data for each parameter and buffer that has some, by name. What is tied gets the same stand-in."""
    made: dict[Tensor, Tensor] = {}
    named: dict[str, Tensor] = {}
    for module, path in modules.items():
        for name, tensor in chain(module._parameters.items(), module._buffers.items()):
            if tensor is not None and not tensor.is_meta:
                if tensor not in made:
                    made[tensor] = torch.empty_like(tensor, device="meta")
                named[_join(path, name)] = made[tensor]
    return named


def _tensors(value: Any) -> list[Tensor]:
    """The tensors in a structure of any kind, in order."""
    if isinstance(value, Tensor):
        return [value]
    found: list[Tensor] = []
    for item in value if type(value) in (tuple, list) else tree_leaves(value):
        if isinstance(item, Tensor):
            found.append(item)
        elif isinstance(item, tuple | list | dict):
            found += _tensors(item)
    return found


def _shapes(tensors: Iterable[Tensor]) -> tuple[Shape, ...]:
    """Their shapes without the first axis, the batch."""
    return tuple([tuple(tensor.shape[1:]) for tensor in tensors])


def _text(shape: Shape) -> str:
    return "x".join(str(size) for size in shape)


class _Rows:
    """Frames to layers, with each parameter given to the first row of its first owner."""

    def __init__(self, trace: _Trace) -> None:
        self.top = trace.top
        self.paths = trace.paths
        self.owned = _owned(self.paths)
        self.called = {frame.module for frame in _frames(trace.top)}

    def root(self) -> Layer:
        """The whole network: the one call at the top."""
        (call,) = (event for event in self.top.events if isinstance(event, _Frame))
        return self.layer(call, 0)

    def layer(self, frame: _Frame, depth: int) -> Layer:
        module = frame.module
        path = self.paths[module]
        named = (path, kind_of(module), arguments_of(module), depth, frame.inputs, frame.outputs)
        if any(isinstance(event, _Frame) for event in frame.events):
            return Layer(*named, children=tuple(self.children(frame, path, depth + 1)))
        operations = [event for event in frame.events if isinstance(event, _Operation)]
        own = self.owned.pop(module, _Owned())
        for idle in self.idle(module):
            own += self.owned.pop(idle, _Owned())
        return Layer(*named, *own.costing(operations, frame.output_bytes))

    def children(self, frame: _Frame, path: str, depth: int) -> Iterator[Layer]:
        for name, own in self.owned.pop(frame.module, _Owned()).parts():
            yield Layer(_join(path, name), own.kind, "", depth, (), own.shapes, *own.costing([], 0))
        for event in frame.events:
            if isinstance(event, _Operation):
                cost = _Owned().costing([event], event.output_bytes)
                yield Layer(_join(path, event.operator), event.operator, "", depth, event.inputs, event.outputs, *cost)
            elif event.events or not _is_empty(event.module):
                yield self.layer(event, depth)
        for idle in self.idle(frame.module):
            if idle in self.owned:
                own = self.owned.pop(idle)
                named = (self.paths[idle], kind_of(idle), arguments_of(idle), depth, (), ())
                yield Layer(*named, *own.costing([], 0), note="not called")

    def idle(self, module: nn.Module) -> Iterator[nn.Module]:
        """The modules below that were not called, as far as no module that was called stands between."""
        for child in module.children():
            if child not in self.called:
                yield child
                yield from self.idle(child)


@dataclass(slots=True)
class _Owned:
    """The parameters and buffers of which a module is the first owner, by name."""

    parameters: dict[str, nn.Parameter] = field(default_factory=dict)
    buffers: dict[str, Tensor] = field(default_factory=dict)

    def __add__(self, other: _Owned) -> _Owned:
        renamed = {f"{len(self.parameters)}.{name}": value for name, value in other.parameters.items()}
        buffers = {f"{len(self.buffers)}.{name}": value for name, value in other.buffers.items()}
        return _Owned({**self.parameters, **renamed}, {**self.buffers, **buffers})

    def parts(self) -> Iterator[tuple[str, _Owned]]:
        """Each parameter and buffer by itself."""
        for name, parameter in self.parameters.items():
            yield name, _Owned({name: parameter})
        for name, buffer in self.buffers.items():
            yield name, _Owned({}, {name: buffer})

    @property
    def kind(self) -> str:
        return "Parameter" if self.parameters else "Buffer"

    @property
    def shapes(self) -> tuple[Shape, ...]:
        return tuple(tuple(tensor.shape) for tensor in [*self.parameters.values(), *self.buffers.values()])

    def costing(self, operations: list[_Operation], output_bytes: int) -> tuple[Cost, tuple[Shape, ...], tuple[Term, ...]]:
        """The cost of a layer that owns these and ran those, and the arithmetic behind it."""
        parameters = self.parameters.values()
        terms = tuple(term for operation in operations for term in operation.terms)
        cost = Cost(
            params=sum(p.numel() for p in parameters),
            trainable_params=sum(p.numel() for p in parameters if p.requires_grad),
            products=sum(math.prod(term) for term in terms),
            output_bytes=output_bytes,
            param_bytes=sum(p.numel() * p.element_size() for p in parameters),
            buffer_bytes=sum(b.numel() * b.element_size() for b in self.buffers.values()),
            unknown=tuple(dict.fromkeys(operation.operator for operation in operations if not operation.known)),
        )
        return cost, tuple(tuple(p.shape) for p in parameters), terms


def _owned(modules: Iterable[nn.Module]) -> dict[nn.Module, _Owned]:
    """What each module owns first, in the order of `modules`."""
    seen: set[Tensor] = set()
    owned: dict[nn.Module, _Owned] = {}
    for module in modules:
        own = _Owned()
        own.parameters.update(_unseen(module._parameters, seen))
        own.buffers.update(_unseen(module._buffers, seen))
        if own.parameters or own.buffers:
            owned[module] = own
    return owned


_T = TypeVar("_T", bound=Tensor)


def _unseen(tensors: Mapping[str, _T | None], seen: set[Tensor]) -> dict[str, _T]:
    new = {name: tensor for name, tensor in tensors.items() if tensor is not None and tensor not in seen}
    seen.update(new.values())
    return new


def _frames(frame: _Frame) -> Iterator[_Frame]:
    for event in frame.events:
        if isinstance(event, _Frame):
            yield event
            yield from _frames(event)


def _is_empty(module: nn.Module) -> bool:
    """Whether it is a container of nothing, as an identity branch is."""
    return isinstance(module, nn.Sequential) and not module._modules


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
