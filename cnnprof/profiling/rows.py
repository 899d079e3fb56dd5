"""Calls to layers: what each row of the profile is, and which of them owns which parameter.

A call of a layer of torch's is one row. A call that calls other modules is a container: each function and operator that it calls
itself becomes a row beside them. So only leaves cost.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from torch import nn

from cnnprof.profiling.calls import AnyCall, Call, LayerCall, Operation, is_parametrized
from cnnprof.profiling.counting import Counting, products_of_call
from cnnprof.profiling.describe import OPERATORS, arguments_of, kind_of
from cnnprof.profiling.owned import NOTHING_OWNED, Owned, alone, each, owned_by, owns, together
from cnnprof.profiling.profile import NOTHING, Cost, Layer, Shape, Term
from cnnprof.profiling.torchs_code import HAS_TORCHS_FORWARD

NONE: Mapping[int, int] = MappingProxyType({})


def layers_of(
    top: Call,
    called: Container[nn.Module],
    paths: Mapping[nn.Module, str],
    count: Counting = products_of_call,
    retained: Mapping[int, int] = NONE,
    live: Mapping[int, int] = NONE,
) -> Layer:
    """The tree of layers of a traced pass: what a trace has as `top` and `called`.

    `paths` names the modules, `count` counts a row. `retained` has the bytes that each operator retains, by its number, `live` the
    bytes that live when it has allocated.
    """
    return _Rows(called, paths, count, retained, live).layer(_whole(top), 0)


def _whole(top: Call) -> AnyCall:
    """The call of the network itself, with what its hooks ran after it; all that ran where the hooks never saw it."""
    for event in top.events:
        if isinstance(event, Call | LayerCall) and event.callee is top.callee:
            rest = [other for other in top.events if other is not event]
            if not rest:
                return event
            call = event.opened() if isinstance(event, LayerCall) else event
            call.events += rest
            return call
    return top


class _Rows:
    def __init__(
        self,
        called: Container[nn.Module],
        paths: Mapping[nn.Module, str],
        count: Counting,
        retained: Mapping[int, int],
        live: Mapping[int, int],
    ) -> None:
        self.paths = paths
        self.count = count
        self.retained = dict(retained)
        self.live = dict(live)
        self.owned = owned_by(paths)
        self.called = called
        self.seen: set[nn.Module] = set()

    def layer(self, call: AnyCall, depth: int) -> Layer:
        module: Any = call.callee  # a function becomes a layer in `function`
        path = self.paths.get(module, "")
        note = "recursive" if module in self.seen else ""
        self.seen.add(module)
        cost = NOTHING
        shapes: tuple[Shape, ...] = ()
        terms: tuple[Term, ...] = ()
        below: tuple[Layer, ...] = ()
        if not isinstance(call, LayerCall) and self.is_container(call, module, depth):
            below = tuple(self.children(call, module, path, depth + 1))
        else:
            own = self.owned.pop(module, NOTHING_OWNED)
            if module._modules:
                within = list(module.modules())[1:] if is_parametrized(module) else list(self.idle(module))
                own = together([own, *(self.owned.pop(part, NOTHING_OWNED) for part in within)])
            cost, shapes, terms = self.costing(own, call)
        size, stride = call.field
        return Layer(
            path,
            kind_of(module),
            arguments_of(module),
            depth,
            call.inputs,
            call.outputs,
            cost,
            shapes,
            terms,
            note,
            below,
            size,
            stride,
        )

    def is_container(self, call: Call, module: nn.Module, depth: int) -> bool:
        if is_parametrized(module):
            return False  # what computes its weights is part of the layer
        if call.calls_modules():
            return True
        # A module of the user's is one row where it is small: the network itself, and what holds unused layers, is not.
        return not HAS_TORCHS_FORWARD[type(module)] and (depth == 0 or next(self.idle(module), None) is not None)

    def children(self, call: Call, module: nn.Module, path: str, depth: int) -> list[Layer]:
        """The layers of a container: its own parameters, what it ran, what it did not call."""
        below: list[Layer] = []
        for name, kind, own in each(self.owned.pop(module, NOTHING_OWNED)):
            cost, shapes = alone(own)
            below.append(Layer(_join(path, name), kind, "", depth, (), shapes, cost, shapes))
        self.add_events(below, call, path, depth, {})
        for part in dict.fromkeys(self.idle(module)):  # one may stand in several places
            cost, shapes = alone(self.owned.pop(part))
            named = (self.paths[part], kind_of(part), arguments_of(part), depth, (), ())
            below.append(Layer(*named, cost, shapes, (), "not called"))
        return below

    def add_events(self, below: list[Layer], call: Call, path: str, depth: int, names: dict[str, int]) -> None:
        """Adds what ran in a call, in order."""
        for event in call.events:
            if isinstance(event, LayerCall):
                below.append(self.layer(event, depth))
            elif isinstance(event, Operation):
                symbol = OPERATORS.get(event.operator, event.operator)
                alone = Call("", 0, output_bytes=event.output_bytes, events=[event])
                below.append(
                    Layer(
                        _numbered(path, event.operator, names),
                        symbol,
                        "",
                        depth,
                        event.inputs,
                        event.outputs,
                        *self.costing(NOTHING_OWNED, alone),
                        receptive_field=event.field.size,
                        stride=event.field.stride,
                    )
                )
            elif isinstance(event.callee, str):
                if event.calls_modules():
                    self.add_events(below, event, path, depth, names)
                else:
                    below.append(self.function(event, event.callee, path, depth, names))
            elif event.events or not _is_empty(event.callee):
                below.append(self.layer(event, depth))

    def function(self, call: Call, name: str, path: str, depth: int, names: dict[str, int]) -> Layer:
        place = _numbered(path, call.operations()[0].operator if name in OPERATORS.values() else name.rpartition(".")[2], names)
        named = (place, name, call.arguments, depth, call.inputs, call.outputs)
        return Layer(*named, *self.costing(NOTHING_OWNED, call), receptive_field=call.field.size, stride=call.field.stride)

    def costing(self, own: Owned, call: AnyCall) -> tuple[Cost, tuple[Shape, ...], tuple[Term, ...]]:
        """The cost of a row that owns these and ran that, and the arithmetic behind it."""
        terms, unknown = self.count(call)
        if isinstance(call, LayerCall):
            kept, peak = self.retained.get(call.run, 0), self.live.get(call.run, 0)
        else:
            kept = peak = 0
            for operation in call.operations():
                kept += self.retained.get(operation.run, 0)
                peak = max(peak, self.live.get(operation.run, 0))
        params, trainable, param_bytes, buffer_bytes, shapes, _, _ = own
        cost = _cost(params, trainable, terms, call.output_bytes, param_bytes, buffer_bytes, unknown, kept, peak)
        return cost, shapes, terms

    def idle(self, module: nn.Module) -> Iterator[nn.Module]:
        """The modules below that own something and were not called, as far as none that was called stands between."""
        for below in module._modules.values():
            if below is not None and below not in self.called:
                if below in self.owned and owns(self.owned[below]):
                    yield below
                yield from self.idle(below)


@lru_cache(maxsize=4096)  # most layers of a deep network cost what another does, and can share that
def _cost(
    params: int,
    trainable: int,
    terms: tuple[Term, ...],
    output_bytes: int,
    param_bytes: int,
    buffer_bytes: int,
    unknown: tuple[str, ...],
    retained: int,
    peak: int,
) -> Cost:
    products = sum(map(math.prod, terms))
    return Cost(params, trainable, products, output_bytes, param_bytes, buffer_bytes, unknown, retained, peak)


def _is_empty(module: nn.Module) -> bool:
    """Whether it is a container of nothing, as an identity branch is."""
    return isinstance(module, nn.Sequential) and not module._modules


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _numbered(path: str, name: str, names: dict[str, int]) -> str:
    """The path of a row that no module names: `stage1.0.relu`, the second of that name `stage1.0.relu#2`."""
    number = names[name] = names.get(name, 0) + 1
    return _join(path, name if number == 1 else f"{name}#{number}")
