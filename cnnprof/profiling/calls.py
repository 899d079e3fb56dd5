"""What one pass did, as a tree: calls of modules and of functions, and the operators that ran in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from dataclasses import field as field_of
from typing import TypeAlias

from torch import nn

from cnnprof.profiling.profile import Shape, Term
from cnnprof.profiling.receptive_field import NO_FIELD, Field


@dataclass(slots=True)
class Operation:
    """One operator that ran."""

    operator: str
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    output_bytes: int
    terms: tuple[Term, ...]
    known: bool
    field: Field
    """The receptive field of its first output."""
    run: int
    """How many operators had run when it had, itself included."""


@dataclass(slots=True)
class LayerCall(Operation):
    """The same of an operator that is all that a call of a layer ran: both in one, for most calls of a network are such."""

    callee: nn.Module
    number: int
    """As that of a `Call`."""

    def operations(self) -> Sequence[Operation]:
        """The operators that ran in it."""
        return (self,)

    def opened(self) -> Call:
        """The same as a call to which more can be added."""
        ran = Operation(self.operator, (), (), self.output_bytes, self.terms, self.known, NO_FIELD, self.run)
        found = Call(self.callee, self.run - 1, number=self.number, whole=True, output_bytes=self.output_bytes, events=[ran])
        found.inputs, found.outputs, found.field = self.inputs, self.outputs, self.field
        return found


@dataclass(slots=True)
class Call:
    """A call of a module or of a function, or the part of it that has run."""

    callee: nn.Module | str
    """The function's name, as one writes it: `F.relu`."""
    start: int
    """How many operators had run before."""
    named: bool = False
    """Whether the functions of its caller are noted."""
    number: int = 0
    """How many calls of the same module came before in this pass."""
    whole: bool = False
    """Whether it is of a layer of torch's that holds no others: one row, whose operators need no shapes of their own."""
    arguments: str = ""
    """Those of a function."""
    inputs: tuple[Shape, ...] = ()
    outputs: tuple[Shape, ...] = ()
    output_bytes: int = 0
    field: Field = NO_FIELD
    """The receptive field of its first output."""
    events: list[Operation | Call] = field_of(default_factory=list)

    def calls_modules(self) -> bool:
        """Whether it called modules, itself or through functions."""
        for event in self.events:
            if isinstance(event, LayerCall):
                return True
            if isinstance(event, Call) and (not isinstance(event.callee, str) or event.calls_modules()):
                return True
        return False

    def operations(self) -> Sequence[Operation]:
        """The operators that ran in it: in functions too, in modules only where they compute its weights."""
        events = self.events
        if len(events) == 1 and type(events[0]) is Operation:  # nearly always
            return events  # type: ignore[return-value]
        return list(self._operations(inner=False))

    def _operations(self, inner: bool) -> Iterator[Operation]:
        inner = inner or (isinstance(self.callee, nn.Module) and is_parametrized(self.callee))
        for event in self.events:
            if isinstance(event, Operation):
                if inner or not isinstance(event, LayerCall):
                    yield event
            elif inner or isinstance(event.callee, str):
                yield from event._operations(inner)


AnyCall: TypeAlias = Call | LayerCall


def is_parametrized(module: nn.Module) -> bool:
    """Whether weights of it are computed, by modules below `parametrizations`."""
    return "parametrizations" in module._modules
