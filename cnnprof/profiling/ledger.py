"""What was allocated and freed while a network ran, in order, and the figures that follow from that list alone.

A `Ledger` is written during a pass; the `History` that it leaves is data. A storage is allocated when an operator returns it for
the first time, and freed when the last tensor that uses it is gone, be it a view.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from cnnprof.profiling.memory import Peak

if TYPE_CHECKING:
    from torch import Tensor, UntypedStorage


class Place(NamedTuple):
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
    place: Place | None
    """The module that ran, or whose backward ran; None outside of all."""
    run: int
    """Counts the operators that ran: what one operator returns together has the same number. 0 for what was there before."""
    host: bool
    """Whether it holds data on the CPU, as the step count of Adam does, whatever the device of the network."""


class Phase(NamedTuple):
    """A stretch of the history: `backward` of the iteration 1."""

    name: str
    iteration: int
    start: int
    """The number of events before it."""


_Made: TypeAlias = "tuple[int, str, Any, int, bool]"
"""An `Allocation` with the caller in place of the place."""


class History:
    """What happened, in order. Every figure is a function of it."""

    def __init__(
        self, made: Sequence[_Made], events: tuple[int, ...], phases: tuple[Phase, ...], place: Callable[[Any], Place | None]
    ) -> None:
        self.made = made
        """What the allocations are made of, which most figures need a part of."""
        self.events = events
        """`n`: allocation `n` was made, `~n`, which is negative: it was freed."""
        self.phases = phases
        self._place = place

    def allocation(self, number: int) -> Allocation:
        """One of them."""
        size, operator, caller, run, host = self.made[number]
        return Allocation(size, operator, self._place(caller), run, host)

    @cached_property
    def allocations(self) -> tuple[Allocation, ...]:
        """All of them."""
        return tuple(map(self.allocation, range(len(self.made))))

    @cached_property
    def live(self) -> tuple[int, ...]:
        """The live bytes after each event."""
        made = self.made
        return tuple(accumulate([made[n][0] if n >= 0 else -made[~n][0] for n in self.events]))

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


class Ledger:
    """Writes down which storages come and go. It has to live, with the garbage collector off, as long as the pass does."""

    def __init__(self) -> None:
        self.runs = 0
        """How many operators have run."""
        self._made: list[_Made] = []
        self._storages: list[weakref.ref[UntypedStorage] | None] = []
        """That of each allocation; None where it need not be watched."""
        self._passing: int | None = None
        """The allocation that `replace` counted last, unless it is watched since."""
        self._events: list[Any] = []
        """Numbers of allocations, and the dead references to what was freed: a callback in Python would cost more than the rest."""
        self._happened = self._events.append
        self._phases: list[Phase] = []
        self._known: dict[int, int] = {}
        """Numbers of allocations by address, which a later storage can have again: then the reference is to another one."""

    def begin(self, phase: str, iteration: int = 0) -> None:
        """From here on, events belong to this phase."""
        self._phases.append(Phase(phase, iteration, len(self._events)))

    def adopt(self, tensors: Iterable[Tensor]) -> None:
        """Counts what was there before: parameters, buffers, inputs. What shares a storage counts once."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            if self._find(storage) is None:
                self.add(tensor, "", None)

    def note(
        self, operator: str, caller: object, outputs: Iterable[Tensor], inputs: Callable[[], Iterable[Tensor]] | None = None
    ) -> None:
        """Counts the storages that an operator returned and that are new. `caller` is who ran it, see `close`.

        `inputs` gives what it was given, where it may have returned a view of that: of a constant of the module, say, which is
        neither parameter nor buffer, and not counted.
        """
        known, storages = self._known, self._storages
        for tensor in outputs:
            storage = tensor.untyped_storage()
            number = known.get(id(storage))
            watch = None if number is None else storages[number]
            if number is None or watch is None or watch() is not storage:
                if inputs is None or all(given.untyped_storage() is not storage for given in inputs()):
                    self.add(tensor, operator, caller)
            elif storage.nbytes() != self._made[number][0]:
                # resize_ moves what it keeps to a new place, and frees the old one then.
                self.add(tensor, operator, caller, watch)
                self._events.append(~number)

    def add(self, tensor: Tensor, operator: str, caller: object, watch: weakref.ref[UntypedStorage] | None = None) -> int:
        """Counts a storage that is known to be new, as `note` does; its bytes. `watch` is a reference to it, where there is one."""
        storage = tensor.untyped_storage()
        size = storage.nbytes()
        if not size:
            return 0  # nothing is allocated
        made = self._made
        number = self._known[id(storage)] = len(made)
        self._storages.append(watch or weakref.ref(storage, self._happened))
        made.append((size, operator, caller, self.runs, not tensor.is_meta))
        self._happened(number)
        return size

    def replace(self, tensor: Tensor, operator: str, caller: object) -> int:
        """Counts the storage, without gaps, of a new tensor that nobody has yet; its bytes.

        If the last that was counted so is not watched by now, this one is in its place, and that one is freed.
        """
        size = tensor.nbytes
        before, self._passing = self._passing, None
        if size:
            made = self._made
            number = self._passing = len(made)
            made.append((size, operator, caller, self.runs, False))
            self._storages.append(None)
            self._happened(number)
        if before is not None:
            self._happened(~before)
        return size

    def watch(self, tensor: Tensor) -> None:
        """Watches the storage that `replace` counted last, which is that of this tensor: others may hold it from now on."""
        number = self._passing
        if number is not None:
            self._passing = None
            storage = tensor.untyped_storage()
            self._known[id(storage)] = number
            self._storages[number] = weakref.ref(storage, self._happened)

    def number(self, tensor: Tensor) -> int | None:
        """Which allocation the tensor's storage is; None for one that no operator returned."""
        return self._find(tensor.untyped_storage())

    def fresh_bytes(self, tensors: Sequence[Tensor], since: int) -> int:
        """Bytes of the distinct storages of those tensors that were allocated after so many operators had run."""
        if self.runs == since:
            return 0
        if len(tensors) == 1:
            one = self._find(tensors[0].untyped_storage())
            return 0 if one is None or self._made[one][3] <= since else self._made[one][0]
        found = {number for tensor in tensors if (number := self._find(tensor.untyped_storage())) is not None}
        return sum([made[0] for made in map(self._made.__getitem__, found) if made[3] > since])

    def close(self, place: Callable[[Any], Place | None]) -> History:
        """The history. What is freed from here on is not in it. `place` makes a place of each caller."""
        numbers = {id(reference): number for number, reference in enumerate(self._storages)}
        events = tuple([event if type(event) is int else ~numbers[id(event)] for event in self._events])
        # References and their callbacks are a cycle, which only the garbage collector would find.
        self._storages.clear()
        self._events.clear()
        return History(tuple(self._made), events, tuple(self._phases), place)

    def _find(self, storage: UntypedStorage) -> int | None:
        number = self._known.get(id(storage))
        watch = None if number is None else self._storages[number]
        return None if watch is None or watch() is not storage else number


def peak(history: History, span: range | None = None) -> Peak:
    """The highest sum of live bytes in a stretch of the history, what lives when it begins included."""
    span = history.span() if span is None else span
    first = max(span.start - 1, 0)
    live = history.live[first : span.stop]
    if not live:
        return Peak()
    highest = max(live)
    event = first + live.index(highest)
    n = history.events[event]
    made = history.allocation(n) if n >= 0 else _NOTHING
    phase = next((phase.name for phase in reversed(history.phases) if phase.start <= event), "")
    return Peak(highest, made.place.path if made.place else "", made.operator, phase, event)


_NOTHING = Allocation(0, "", None, 0, False)


def live_by_run(history: History) -> dict[int, int]:
    """For each operator that allocated, by its number, the bytes that live just after that."""
    made = history.made
    return {made[n][3]: now for n, now in zip(history.events, history.live, strict=True) if n >= 0}


def alive(history: History, event: int) -> list[int]:
    """The allocations that live just after an event, in the order in which they were made."""
    living: dict[int, None] = {}
    for n in history.events[: event + 1]:
        if n >= 0:
            living[n] = None
        else:
            del living[~n]
    return list(living)


def bytes_of(history: History, numbers: Iterable[int]) -> int:
    """The sum of the sizes of these allocations."""
    return sum(history.made[n][0] for n in numbers)


def split(history: History, event: int, kinds: Sequence[str]) -> dict[str, int]:
    """The bytes that live just after an event, by the kind that `kinds` gives each allocation."""
    sums: dict[str, int] = {}
    for n in alive(history, event):
        sums[kinds[n]] = sums.get(kinds[n], 0) + history.made[n][0]
    return sums
