"""What was allocated and freed while a network ran, in order, and the figures that follow from that list alone.

A `Ledger` is written during a pass; the `Trace` that it leaves is data. A storage is allocated when an operator returns it for the
first time, and freed when the last tensor that uses it is gone, be it a view.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor, UntypedStorage


class Call(NamedTuple):
    """One call of a module: the innermost one that ran."""

    path: str
    """Where the module stands, as `named_modules` says."""
    number: int = 0
    """How many calls of the same module came before in this pass."""


class Allocation(NamedTuple):
    """One storage that came to be."""

    bytes: int
    operator: str
    """As torch names it, `convolution`; empty for what was there before the pass."""
    call: Call | None
    """The module that ran, or whose backward ran; None outside of all."""
    run: int
    """Counts the operators that ran: what one operator returns together has the same number. 0 for what was there before."""
    host: bool
    """Whether it holds data on the CPU, as the step count of Adam does, whatever the device of the network."""


class Phase(NamedTuple):
    """A stretch of the trace: `backward` of the iteration 1."""

    name: str
    iteration: int
    start: int
    """The number of events before it."""


@dataclass(frozen=True, slots=True)
class Trace:
    """What happened, in order. Every figure is a function of it."""

    allocations: tuple[Allocation, ...]
    events: tuple[int, ...]
    """`n`: allocation `n` was made, `~n`, which is negative: it was freed."""
    phases: tuple[Phase, ...]

    @property
    def sizes(self) -> Iterator[int]:
        """What each event adds to the live bytes."""
        allocations = self.allocations
        return (allocations[n].bytes if n >= 0 else -allocations[~n].bytes for n in self.events)

    def span(self, iteration: int | None = None, *names: str) -> range:
        """The events of an iteration, or of those of its phases that are named; all without arguments. Raises KeyError."""
        if iteration is None:
            return range(len(self.events))
        ends = [phase.start for phase in self.phases[1:]] + [len(self.events)]
        spans = [
            (phase.start, end)
            for phase, end in zip(self.phases, ends, strict=True)
            if phase.iteration == iteration and (not names or phase.name in names)
        ]
        if not spans:
            raise KeyError((iteration, *names))
        return range(spans[0][0], spans[-1][1])


@dataclass(frozen=True, slots=True)
class Peak:
    """The highest sum of live bytes over a stretch of a trace, and where it was reached first."""

    bytes: int
    path: str
    """The module that ran, or whose backward ran."""
    operator: str
    """The operator that allocated last."""
    phase: str
    event: int
    """The number of the event that reached it; -1 where nothing was ever allocated."""


class Ledger:
    """Writes down which storages come and go. It has to live, with the garbage collector off, as long as the pass does."""

    def __init__(self) -> None:
        self._allocations: list[tuple[int, str, Call | None, int, bool]] = []
        self._events: list[Any] = []
        """Numbers of allocations, and the dead references to what was freed: a callback in Python would cost more than the rest."""
        self._watches: list[weakref.ref[UntypedStorage]] = []
        self._phases: list[Phase] = []
        self._runs = 0
        self._known: dict[int, tuple[weakref.ref[UntypedStorage], int]] = {}
        """By address, which a later storage can have again: then the reference is to another one."""

    def begin(self, phase: str, iteration: int = 0) -> None:
        """From here on, events belong to this phase."""
        self._phases.append(Phase(phase, iteration, len(self._events)))

    def adopt(self, tensors: Iterable[Tensor]) -> None:
        """Counts what was there before: parameters, buffers, inputs. What shares a storage counts once."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            if self._find(storage) is None:
                self._add(storage, "", None, tensor)

    def note(
        self, operator: str, call: Call | None, outputs: Iterable[Tensor], inputs: Callable[[], Iterable[Tensor]] | None = None
    ) -> None:
        """Counts the storages that an operator returned and that are new.

        `inputs` gives what it was given, where it may have returned a view of that: of a constant of the module, say, which is
        neither parameter nor buffer, and not counted.
        """
        self._runs += 1
        for tensor in outputs:
            storage = tensor.untyped_storage()
            found = self._known.get(id(storage))
            if found is None or found[0]() is not storage:
                if inputs is None or all(given.untyped_storage() is not storage for given in inputs()):
                    self._add(storage, operator, call, tensor)
            elif storage.nbytes() != self._allocations[found[1]][0]:
                # resize_ moves what it keeps to a new place, and frees the old one then.
                self._add(storage, operator, call, tensor, found[0])
                self._events.append(~found[1])

    def number(self, tensor: Tensor) -> int | None:
        """Which allocation the tensor's storage is; None for one that no operator returned."""
        return self._find(tensor.untyped_storage())

    def close(self) -> Trace:
        """The trace. What is freed from here on is not in it."""
        numbers = {id(watch): number for number, watch in enumerate(self._watches)}
        events = tuple(event if type(event) is int else ~numbers[id(event)] for event in self._events)
        trace = Trace(tuple(map(Allocation._make, self._allocations)), events, tuple(self._phases))
        # References and their callbacks are a cycle, which only the garbage collector would find.
        self._watches.clear()
        self._known.clear()
        self._events.clear()
        return trace

    def _find(self, storage: UntypedStorage) -> int | None:
        found = self._known.get(id(storage))
        return found[1] if found is not None and found[0]() is storage else None

    def _add(
        self,
        storage: UntypedStorage,
        operator: str,
        call: Call | None,
        tensor: Tensor,
        watch: weakref.ref[UntypedStorage] | None = None,
    ) -> None:
        number = len(self._allocations)
        watch = watch or weakref.ref(storage, self._events.append)
        self._known[id(storage)] = watch, number
        self._watches.append(watch)
        self._allocations.append((storage.nbytes(), operator, call, self._runs, not tensor.is_meta))
        self._events.append(number)


def curve(trace: Trace) -> list[int]:
    """The live bytes after each event."""
    return list(accumulate(trace.sizes))


def peak(trace: Trace, span: range | None = None) -> Peak:
    """The highest sum of live bytes in a stretch of the trace, what lives when it begins included."""
    span = trace.span() if span is None else span
    first = max(span.start - 1, 0)
    live = curve(trace)[first : span.stop]
    if not live:
        return Peak(0, "", "", "", -1)
    highest = max(live)
    event = first + live.index(highest)
    n = trace.events[event]
    made = trace.allocations[n] if n >= 0 else _NOTHING
    phase = next((phase.name for phase in reversed(trace.phases) if phase.start <= event), "")
    return Peak(highest, made.call.path if made.call else "", made.operator, phase, event)


_NOTHING = Allocation(0, "", None, 0, False)


def alive(trace: Trace, event: int) -> list[int]:
    """The allocations that live just after an event, in the order in which they were made."""
    living: dict[int, None] = {}
    for n in trace.events[: event + 1]:
        if n >= 0:
            living[n] = None
        else:
            del living[~n]
    return list(living)


def bytes_of(trace: Trace, numbers: Iterable[int]) -> int:
    """The sum of the sizes of these allocations."""
    return sum(trace.allocations[n].bytes for n in numbers)


def split(trace: Trace, event: int, kinds: Sequence[str]) -> dict[str, int]:
    """The bytes that live just after an event, by the kind that `kinds` gives each allocation."""
    sums: dict[str, int] = {}
    for n in alive(trace, event):
        sums[kinds[n]] = sums.get(kinds[n], 0) + trace.allocations[n].bytes
    return sums
