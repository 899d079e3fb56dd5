"""Spec to module: one walk, in which a tensor without data meets every layer as soon as it is made.

The tensor gives `in_channels` its value and a shape error its line. The result is an ordinary eager `nn.Module`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from cnnprof.errors import Frame, Span, SpecError, did_you_mean
from cnnprof.nets import layers
from cnnprof.nets.layers import JOINS, Block
from cnnprof.operators import MetaMode
from cnnprof.spec.expressions import Scope, Value, evaluate, unknown_name
from cnnprof.spec.grammar import (
    IN_CHANNELS,
    Argument,
    BlockCall,
    Body,
    Branch,
    Do,
    Item,
    Join,
    LayerCall,
    Named,
    Spec,
    VariableCall,
    bind,
    span_of,
)
from cnnprof.spec.vocabulary import LayerType, accepts, vocabulary

MAX_LAYERS = 20_000
"""Layers and repetitions of one network: the deepest in use has 1,200 layers."""
MAX_BLOCKS = 30
"""Blocks in blocks: only a block that calls itself through a variable goes deeper."""
MAX_SIZE = 10**12
"""Of one axis of the input."""


@dataclass(frozen=True, slots=True)
class Network:
    """A module that was built from a spec, and where each part of it is written."""

    name: str
    module: nn.Module
    input_shape: tuple[int, ...]
    lines: Mapping[str, Span]
    """The place in the file of each module, by its path."""


def build(
    spec: Spec,
    name: str,
    variant: str | None = None,
    settings: Mapping[str, Argument] | None = None,
    input_shape: tuple[int, ...] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Network:
    """The network of a spec as a module on the meta device.

    `variant` names one of the spec's (default: the first), `settings` override variables, `input_shape` (without the batch
    dimension) the spec's input. Raises SpecError with the line that cannot be built.
    """
    scope = _variables(spec, variant, settings or {})
    shape = input_shape or _input(spec, scope)
    span = None if input_shape else spec.input[0].span
    if not all(0 < size <= MAX_SIZE for size in shape):
        raise SpecError("input", f"the sizes of {_text(shape)} are not all at least 1 and at most 10^12", span)
    walk = _Walk(spec, scope, dtype)
    children = _Children("")
    with torch.no_grad(), MetaMode():
        try:
            tensor = torch.empty((1, *shape), device="meta", dtype=dtype)
        except RuntimeError as error:
            raise SpecError("input", f"an input of {_text(shape)} is too large", span) from error
        walk.body(spec.layers, scope, tensor, children)
    if not children.modules:
        raise SpecError("empty", "the network has no layers", spec.layers[0].span, _LEFT_OUT)
    module = Block(children.modules, name)
    module.train()
    return Network(name, module, shape, walk.lines)


def _variables(spec: Spec, variant: str | None, settings: Mapping[str, Argument]) -> dict[str, Value]:
    """The value of every variable: what was set, else what the variant says, else the default."""
    variants = spec.variants
    if variant is not None and variant not in variants:
        known = list(variants)
        advice = did_you_mean(variant, known) or (f"it has {', '.join(known)}" if known else "it has no variants")
        raise SpecError("unknown-variant", f'{spec.source.name} has no variant "{variant}"', help=advice)
    chosen = variants[variant] if variant is not None else next(iter(variants.values()), {})
    names = [*(name for name in chosen if name not in spec.vars), *spec.vars]
    for name, argument in settings.items():
        if name not in names:
            advice = did_you_mean(name, names) or (f"it has {', '.join(names)}" if names else "it has no variables")
            raise SpecError("unknown-variable", f'{spec.source.name} has no variable "{name}"', span_of(argument), advice)
    scope: dict[str, Value] = {}
    for name in names:
        given = next(values for values in (settings, chosen, spec.vars) if name in values)
        scope[name] = _value(given[name], scope)
    return scope


def _input(spec: Spec, scope: Scope) -> tuple[int, ...]:
    sizes = []
    for expression in spec.input:
        size = evaluate(expression, scope)
        if isinstance(size, float) and size.is_integer():
            size = int(size)
        if not isinstance(size, int) or isinstance(size, bool):
            raise SpecError("input", f"a size of the input is an integer, not {_shown(size)}", expression.span)
        if size < 1:
            raise SpecError("input", f"a size of the input is at least 1, not {size}", expression.span)
        sizes.append(size)
    return tuple(sizes)


def _value(argument: Argument, scope: Scope) -> Value:
    if isinstance(argument, tuple):
        return tuple(_value(item, scope) for item in argument)
    return evaluate(argument, scope)


@dataclass(slots=True)
class _Children:
    """The modules of a container that is being filled."""

    prefix: str
    what: str = "a layer"
    """What they are called."""
    modules: dict[str, nn.Module] = field(default_factory=dict)

    def path(self, name: str | None) -> str:
        return self.prefix + (name or str(len(self.modules)))

    def add(self, name: str | None, module: nn.Module, span: Span, named: Span | None = None) -> None:
        key = name or str(len(self.modules))
        if key in self.modules:
            raise SpecError("name", f'two layers beside each other have the name "{key}"', named or span)
        if key in _TAKEN[self.what]:
            raise SpecError("name", f'"{key}" has a meaning in the module around it and cannot name {self.what}', named or span)
        self.modules[key] = module


@dataclass(frozen=True, slots=True)
class _At:
    """Where the walk stands when it makes a call."""

    item: Item
    scope: Scope
    x: Tensor
    children: _Children
    name: str | None
    first: bool
    """Whether this is the first of several repetitions."""


@dataclass(slots=True)
class _Walk:
    spec: Spec
    variables: Scope
    dtype: torch.dtype
    lines: dict[str, Span] = field(default_factory=dict)
    steps: int = 0
    calls: int = 0
    blocks: int = 0

    def body(self, body: Body, scope: Scope, x: Tensor, children: _Children) -> Tensor:
        for item in body:
            x = self.item(item, scope, x, children)
        return x

    def item(self, item: Item, scope: Scope, x: Tensor, children: _Children) -> Tensor:
        for number, values in enumerate(self.iterations(item, scope, x), 1):
            self.step(item.span)
            if item.condition is not None and not evaluate(item.condition, _entering(values, x)):
                continue
            name = f"{item.name}{number}" if item.name and item.loops else item.name
            if item.repeat is None:
                x = self.call(item, values, x, children, name, first=False)
            else:
                x = self.repeated(item, values, x, children, name)
        return x

    def iterations(self, item: Item, scope: Scope, x: Tensor) -> Iterator[Scope]:
        if not item.loops:
            yield scope
            return
        columns: dict[str, tuple[Any, ...]] = {}
        for name, argument in item.loops:
            values = _value(argument, _entering(scope, x))
            if not isinstance(values, tuple):
                raise SpecError("type", f'"for" takes a list, {name} is {_shown(values)}', span_of(argument))
            columns[name] = values
        lengths = {name: len(values) for name, values in columns.items()}
        if len(set(lengths.values())) > 1:
            listed = ", ".join(f"{name} has {length}" for name, length in lengths.items())
            raise SpecError("for", f'the lists of "for" are of unequal length: {listed}', item.loop_span)
        for values in zip(*columns.values(), strict=True):
            yield {**scope, **dict(zip(columns, values, strict=True))}

    def repeated(self, item: Item, scope: Scope, x: Tensor, children: _Children, name: str | None) -> Tensor:
        """A repetition that has a name becomes a container of that name; else its layers join those around it."""
        assert item.repeat is not None
        count = evaluate(item.repeat, _entering(scope, x))
        span = item.repeat.span
        if isinstance(count, float) and count.is_integer():
            count = int(count)
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise SpecError("type", f'"repeat" takes an integer of at least 0, not {_shown(count)}', span)
        if count > MAX_LAYERS - self.steps:
            raise SpecError("size", f"{count:,} repetitions would make more than {MAX_LAYERS:,} layers", span)
        target = _Children(f"{children.prefix}{name}.") if name else children
        for index in range(count):
            self.step(span)
            x = self.call(item, scope, x, target, None, first=index == 0)
        if name and target.modules:
            self.group(name, target, children, item)
        return x

    def group(self, name: str | None, filled: _Children, children: _Children, item: Item, named: Span | None = None) -> None:
        self.add(children, name, _sequential(filled.modules), item, named)

    def add(self, children: _Children, name: str | None, module: nn.Module, item: Item, named: Span | None = None) -> None:
        self.lines[children.path(name)] = item.span
        children.add(name, module, item.span, named or item.name_span)

    def step(self, span: Span) -> None:
        self.steps += 1
        if self.steps > MAX_LAYERS:
            raise SpecError("size", f"more than {MAX_LAYERS:,} layers", span)

    def call(self, item: Item, scope: Scope, x: Tensor, children: _Children, name: str | None, first: bool) -> Tensor:
        self.calls += 1
        call = item.call
        if isinstance(call, VariableCall):
            call = self.named(call, scope)
        return _CALLS[type(call)](self, call, _At(item, scope, x, children, name, first))

    def named(self, call: VariableCall, scope: Scope) -> LayerCall | BlockCall:
        if call.variable not in scope:  # only another variant sets it
            raise unknown_name(call.variable, call.span, scope, functions=())
        word = scope[call.variable]
        if isinstance(word, str) and word in self.spec.blocks:
            return BlockCall(word, call.arguments)
        if isinstance(word, str) and word in vocabulary():
            return LayerCall(vocabulary()[word], call.arguments)
        advice = did_you_mean(word, [*self.spec.blocks, *vocabulary()]) if isinstance(word, str) else ""
        message = f"{call.variable} is {_shown(word)}, which names no layer and no block"
        raise SpecError("unknown-layer", message, call.span, advice)

    def arguments(self, callee: str, parameters: Sequence[Named], call: LayerCall | BlockCall, at: _At) -> dict[str, Argument]:
        bound = bind(callee, parameters, call.arguments, at.item.span)
        if at.first:
            names = [parameter.name for parameter in parameters]
            for name, (span, argument) in at.item.first.items():
                if name not in names:
                    advice = did_you_mean(name, names)
                    raise SpecError("unknown-argument", f'{callee} has no argument "{name}"', span, advice)
                bound[name] = argument
        return bound

    def layer(self, call: LayerCall, at: _At) -> Tensor:
        kind = call.layer
        entering = _entering(at.scope, at.x)
        bound = self.arguments(kind.name, kind.parameters, call, at)
        values: dict[str, Any] = {}
        for parameter in kind.parameters:
            if parameter.name in bound:
                argument = bound[parameter.name]
                value = _value(argument, entering)
                try:
                    values[parameter.name] = accepts(parameter, value)
                except ValueError as error:
                    place = span_of(argument) or at.item.span
                    advice = _ROUND if "integer" in str(error) and isinstance(value, float) else self.leave_out(call, at)
                    raise SpecError("type", str(error), place, advice) from None
        _check_rank(kind, at.x, at.item.span, not self.lines)
        for parameter_name, what in kind.told.items():
            values[parameter_name] = _TOLD[what](at.x)
        module = self.make(kind, values, bound, at.item.span)
        module.eval()  # in training mode BatchNorm refuses a single value per channel
        try:
            y: Tensor = module(at.x)
        except _REFUSALS as error:
            frames = [_entered(module, at.x)]
            raise SpecError("shape", _first_line(error), at.item.span, self.leave_out(call, at), frames) from None
        _check_output(module, at.x, y, at.item.span)
        self.add(at.children, at.name, module, at.item)
        return y

    def leave_out(self, call: LayerCall, at: _At) -> str:
        """What to say to somebody who wrote the channels that enter, as torch wants them: the layer works without them."""
        given = call.arguments.positional
        told = next(iter(call.layer.told), None)
        if told is None or not given or _value(given[0], _entering(at.scope, at.x)) != at.x.shape[1]:
            return ""
        try:
            self.layer(replace(call, arguments=replace(call.arguments, positional=given[1:])), at)
        except SpecError:
            return ""
        return f"the input tells {told}: if {at.x.shape[1]} is that, leave it out"

    def make(self, kind: LayerType, values: dict[str, Any], bound: Mapping[str, Argument], span: Span) -> nn.Module:
        cls, on_device = _layer_class(kind.name)
        try:
            return _without_values(cls, {**values, "device": "meta", "dtype": self.dtype}) if on_device else cls(**values)
        except _REFUSALS as error:
            message = _first_line(error)
            named = [argument for name, argument in bound.items() if name in message]
            place = (span_of(named[0]) if named else None) or span
            told = [f"{name} is {values[name]} here" for name in kind.told if name in message]
            raise SpecError("value", f"{kind.name}: {message}", place, ", ".join(told)) from None

    def block(self, call: BlockCall, at: _At) -> Tensor:
        block = self.spec.blocks[call.block]
        bound = self.arguments(block.name, block.parameters, call, at)
        entering = _entering(at.scope, at.x)
        inner: dict[str, Value] = dict(self.variables)
        given: dict[str, Value] = {}
        for parameter in block.parameters:
            if parameter.name in bound:
                given[parameter.name] = _value(bound[parameter.name], entering)
            else:
                assert parameter.default is not None  # bind() refuses a required one that is missing
                given[parameter.name] = evaluate(parameter.default, _entering({**inner, **given}, at.x))
        text = ", ".join(f"{key}={_shown(value)}" for key, value in given.items())
        if self.blocks >= MAX_BLOCKS:
            raise SpecError("recursion", f"blocks in blocks, more than {MAX_BLOCKS} deep", at.item.span)
        filled = _Children(f"{at.children.path(at.name)}.")
        self.blocks += 1
        try:
            y = self.body(block.body, {**inner, **given}, at.x, filled)
        except SpecError as error:
            error.frames = (Frame(f"{block.name}({text})", at.item.span), *error.frames)
            raise
        self.blocks -= 1
        if filled.modules:
            module = Block(filled.modules, block.name, text)
            self.add(at.children, at.name, module, at.item)
        return y

    def join(self, call: Join, at: _At) -> Tensor:
        outputs: list[Tensor] = []
        joined = _Children(f"{at.children.path(at.name)}.", "a branch")
        for key, span, branch in call.branches:
            filled = _Children(f"{joined.path(key)}.")
            calls = self.calls
            y = self.branch(branch, at.scope, at.x, filled)
            if isinstance(branch, Item) and self.calls == calls:
                continue  # its "if" is false
            self.group(key, filled, joined, at.item, span)
            outputs.append(y)
        if not outputs:
            raise SpecError("empty", f"{call.kind} has no branch left", at.item.span, _LEFT_OUT)
        module = JOINS[call.kind](joined.modules)
        try:
            y = module.join(outputs)
        except ValueError as error:
            raise SpecError("branches", str(error), at.item.span, _BRANCHES.get(call.kind, "")) from None
        except _REFUSALS as error:
            raise SpecError("branches", _first_line(error), at.item.span) from None
        self.add(at.children, at.name, module, at.item)
        return y

    def branch(self, branch: Branch, scope: Scope, x: Tensor, filled: _Children) -> Tensor:
        if isinstance(branch, Item):
            return self.item(branch, scope, x, filled)
        return self.body(branch, scope, x, filled)

    def do(self, call: Do, at: _At) -> Tensor:
        """A group that has a name becomes a container; else its layers join those around it."""
        if at.name is None:
            return self.body(call.body, at.scope, at.x, at.children)
        filled = _Children(f"{at.children.prefix}{at.name}.")
        y = self.body(call.body, at.scope, at.x, filled)
        if filled.modules:
            self.group(at.name, filled, at.children, at.item)
        return y


_REFUSALS = (ValueError, RuntimeError, TypeError, IndexError, ArithmeticError, AssertionError)
"""What torch's layers raise for arguments or inputs that they cannot take."""

_CALLS: dict[type, Callable[..., Tensor]] = {
    LayerCall: _Walk.layer,
    BlockCall: _Walk.block,
    Join: _Walk.join,
    Do: _Walk.do,
}

_TAKEN: Mapping[str, Sequence[str]] = {
    "a layer": dir(Block({})),
    "a branch": (*dir(layers.Join), *dir(nn.Module())),
}
"""What the module around them has as an attribute, so that they cannot have it as their name."""

_TOLD: dict[str, Callable[[Tensor], Any]] = {
    "channels": lambda x: x.shape[1],
    "size": lambda x: tuple(x.shape[2:]),
}

_LEFT_OUT = 'an "if" that is false, a "for" without values and "repeat: 0" leave out what they stand beside'

_ROUND = "round(…), floor(…) and ceil(…) make integers, round8(…) the multiples of 8 that channel counts are rounded to"

_BRANCHES = {
    "add": "branches that are added give the same shape: a 1x1 convolution on the other branch makes them fit",
    "cat": "branches that are concatenated have the same height and width",
}


def _sequential(modules: Mapping[str, nn.Module]) -> nn.Sequential:
    container = nn.Sequential()
    for key, module in modules.items():
        container.add_module(key, module)
    return container


def _entering(scope: Scope, x: Tensor) -> dict[str, Value]:
    return {**scope, IN_CHANNELS: x.shape[1]}


def _entered(module: nn.Module, x: Tensor) -> Frame:
    return Frame(f"{module} with an input of {_text(x.shape[1:])}", None)


@cache
def _layer_class(name: str) -> tuple[type[nn.Module], bool]:
    """The class of that name, and whether its parameters can be made on a device."""
    cls: type[nn.Module] = getattr(layers, name, None) or getattr(nn, name)
    return cls, "device" in inspect.signature(cls).parameters


def _without_values(cls: type[nn.Module], arguments: Mapping[str, Any]) -> nn.Module:
    """A layer whose parameters are given no values: on the meta device torch would draw them for nothing."""
    layer = cls.__new__(cls)
    layer.__dict__["reset_parameters"] = _nothing
    layer.__init__(**arguments)  # type: ignore[misc]  # what draws them has to be replaced before
    del layer.__dict__["reset_parameters"]
    return layer


def _nothing() -> None:
    pass


def _check_rank(kind: LayerType, x: Tensor, span: Span, at_input: bool) -> None:
    rank = x.ndim - 1
    if kind.ranks is None or rank in kind.ranks:
        return
    wanted = " or ".join(_RANKS.get(rank, f"{rank} axes") for rank in kind.ranks)
    advice = ""
    if kind.ranks == (1,):
        advice = f"add Flatten before it ({_text(x.shape[1:])} is {x[0].numel():,} features)"
    elif kind.ranks and rank == max(kind.ranks) + 1 and at_input:
        advice = "a shape has no batch dimension: leave it out"
    elif rank == 1:
        advice = "after Flatten the map is gone: put this layer before it"
    message = f"{kind.name} takes {wanted}, what enters is {_RANKS.get(rank, 'a tensor')}, {_text(x.shape[1:])}"
    raise SpecError("shape", message, span, advice)


_RANKS = {1: "a vector of features", 2: "a sequence CxL", 3: "a map CxHxW", 4: "a volume CxDxHxW"}


def _check_output(module: nn.Module, x: Tensor, y: Any, span: Span) -> None:
    if not isinstance(y, Tensor) or y.ndim < 2 or y.shape[0] != x.shape[0]:
        shape = _text(y.shape) if isinstance(y, Tensor) else "no tensor"
        raise SpecError("shape", f"{module} touches the batch dimension: it gives {shape}", span)
    if 0 in y.shape:
        raise SpecError("shape", f"{module} leaves nothing: {_text(y.shape[1:])}", span)


def _text(shape: Any) -> str:
    return "x".join(str(size) for size in shape)


def _shown(value: Value) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_shown(item) for item in value)}]"
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)


def _first_line(error: Exception) -> str:
    message = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
    if "Storage size calculation overflowed" in message:
        return "its tensors would have more than 2^63 bytes"
    return message
