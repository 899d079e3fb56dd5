"""Networks side by side: their totals, their kinds of layers, or their layers, aligned."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from enum import Enum
from itertools import pairwise

from cnnprof.errors import UsageError
from cnnprof.profiling.profile import NOTHING, Cost, FieldSize, Layer, Profile


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure of a network: what it is called, and how it is got."""

    label: str
    of: Callable[[Profile], int | FieldSize]
    """A number, or the receptive field along each axis; None where it is not known."""
    of_cost: Callable[[Cost], int] | None = None
    """The same figure of a layer; None where it is one of whole networks only."""
    in_bytes: bool = False


METRICS: Mapping[str, Metric] = {
    "params": Metric("parameters", lambda p: p.params, lambda c: c.params),
    "products": Metric("products", lambda p: p.products, lambda c: c.products),
    "model_bytes": Metric("model size", lambda p: p.model_bytes, lambda c: c.model_bytes, True),
    "output_bytes": Metric("activations", lambda p: p.output_bytes, lambda c: c.output_bytes, True),
    "retained_bytes": Metric("retained for training", lambda p: p.retained_bytes, lambda c: c.retained_bytes, True),
    "inference_peak_bytes": Metric("inference peak", lambda p: p.inference_peak.bytes if p.inference_peak else None, in_bytes=True),
    "layers": Metric("layers", lambda p: len(p.layers)),
    "receptive_field": Metric("receptive field", lambda p: p.root.receptive_field),
}
"""What networks are compared by, in the order in which it is shown."""


class Change(Enum):
    """What became of a layer from the first network that has it to the others."""

    SAME = "="
    CHANGED = "changed"
    NEW = "new"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Total:
    """One metric of every network."""

    key: str
    values: tuple[int | FieldSize, ...]

    @property
    def metric(self) -> Metric:
        return METRICS[self.key]

    @property
    def winner(self) -> int | None:
        """The network with the smallest number; None where none is alone in that, or where one is not known.

        A small receptive field is no merit.
        """
        numbers = [value for value in self.values if isinstance(value, int)]
        if len(numbers) < len(self.values) or numbers.count(least := min(numbers)) > 1:
            return None
        return numbers.index(least)


@dataclass(frozen=True, slots=True)
class Aligned:
    """One layer, or one kind of layers, of every network that has it."""

    path: str
    names: tuple[str | None, ...]
    """The call in each network, `Conv2d(3, 64, kernel_size=7)`; None where there is none."""
    costs: tuple[Cost, ...]
    change: Change

    @property
    def name(self) -> str:
        """The call; where it differs, the old and the new."""
        distinct = list(dict.fromkeys(name for name in self.names if name is not None))
        return " -> ".join(distinct)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Networks side by side."""

    profiles: tuple[Profile, ...]
    totals: tuple[Total, ...]
    rows: tuple[Aligned, ...] = ()
    by: str = "total"
    remark: str = ""
    """What the reader has to know: that the layers do not align, for example."""


def compare(profiles: Sequence[Profile], by: str = "total") -> Comparison:
    """The profiles side by side: `by` is `total`, `kind` or `layer`.

    By layer, rows are aligned by their paths; where the networks are of different families, so that less than a third aligns, by
    kind instead, and the remark says so. Raises UsageError where they count by different conventions.
    """
    if len(conventions := sorted({profile.convention for profile in profiles})) > 1:
        raise UsageError(f"these profiles count by different conventions: {', '.join(conventions)}")
    totals = tuple(Total(key, tuple(metric.of(profile) for profile in profiles)) for key, metric in METRICS.items())
    made = Comparison(tuple(profiles), totals, by=by)
    if by == "kind":
        return replace(made, rows=_by_kind(profiles))
    if by == "layer":
        slots = _slots(profiles)
        if 3 * sum(map(_meets, slots)) < min(len(profile.layers) for profile in profiles):
            remark = "these networks share too few layers to align them: by kind instead"
            return replace(made, rows=_by_kind(profiles), by="kind", remark=remark)
        return replace(made, rows=tuple(map(_aligned, slots)))
    return made


def call(layer: Layer) -> str:
    """The layer as one writes it."""
    return f"{layer.kind}({layer.arguments})" if layer.arguments else layer.kind


def _by_kind(profiles: Sequence[Profile]) -> tuple[Aligned, ...]:
    kinds = dict.fromkeys(layer.kind for profile in profiles for layer in profile.layers)
    rows = []
    for kind in kinds:
        found = [[layer.cost for layer in profile.layers if layer.kind == kind] for profile in profiles]
        costs = tuple(sum(costs, NOTHING) for costs in found)
        names = tuple(f"{kind} x{len(costs)}" if costs else None for costs in found)
        rows.append(Aligned(kind, names, costs, _change(names, costs)))
    return tuple(rows)


def _change(names: Sequence[str | None], costs: Sequence[Cost]) -> Change:
    if names[0] is None:
        return Change.NEW
    if None in names:
        return Change.GONE
    return Change.SAME if len(set(names)) == 1 and len(set(costs)) == 1 else Change.CHANGED


@dataclass(slots=True)
class _Slot:
    """A row that is being aligned: the layer of each network so far."""

    layers: list[Layer | None]

    @property
    def last(self) -> Layer:
        return next(layer for layer in reversed(self.layers) if layer is not None)


def _slots(profiles: Sequence[Profile]) -> list[_Slot]:
    slots = [_Slot([layer]) for layer in profiles[0].layers]
    for number, profile in enumerate(profiles[1:], 1):
        slots = list(_merged(slots, profile.layers, number))
    return slots


def _meets(slot: _Slot) -> bool:
    """Whether it is the same layer in every network: at the same place, or equal."""
    layers = [layer for layer in slot.layers if layer is not None]
    places, calls = {(layer.path, layer.kind) for layer in layers}, {(call(layer), layer.cost) for layer in layers}
    return len(layers) == len(slot.layers) and (len(places) == 1 or len(calls) == 1)


def _aligned(slot: _Slot) -> Aligned:
    names = tuple(call(layer) if layer else None for layer in slot.layers)
    costs = tuple(layer.cost if layer else NOTHING for layer in slot.layers)
    return Aligned(slot.last.path, names, costs, _change(names, costs))


def _merged(slots: list[_Slot], layers: Sequence[Layer], number: int) -> Iterator[_Slot]:
    """The slots with the layers of one more network: equal ones meet, then those of one kind that stand in each other's place."""
    exact = {slot.last.path: slot.last.kind for slot in slots}
    by_path = all(exact.get(layer.path, layer.kind) == layer.kind for layer in layers)
    key = _path_key if by_path else _sequence_key
    old, new = [key(slot.last) for slot in slots], [key(layer) for layer in layers]
    for start, stop, first, last in _stretches(old, new):
        before, after = slots[start:stop], list(layers[first:last])
        yield from _paired(before, after, number)


def _stretches(old: Sequence[object], new: Sequence[object]) -> list[tuple[int, int, int, int]]:
    """Stretches of both sequences that stand in each other's place, equal ones and others.

    What was inserted among equals is the last of them: of five convolutions where there were three, the fourth and fifth.
    """
    blocks = [[*block] for block in SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks()]
    for before, after in pairwise(blocks):
        # The block before takes over from the one after, as long as what comes next is the same.
        while after[2] and before[0] + before[2] < len(old) and before[1] + before[2] < len(new):
            a, b = before[0] + before[2], before[1] + before[2]
            if (a < after[0] and b < after[1]) or old[a] != new[b]:
                break
            before[2] += 1
            after[:] = [after[0] + 1, after[1] + 1, after[2] - 1]
    found = []
    a = b = 0
    for start, first, size in blocks:
        if a < start or b < first:
            found.append((a, start, b, first))
        if size:
            found.append((start, start + size, first, first + size))
        a, b = start + size, first + size
    return found


def _paired(before: list[_Slot], after: list[Layer], number: int) -> Iterator[_Slot]:
    """Two stretches side by side: the next layer of the same kind takes its place, the others stand alone."""
    waiting = list(after)
    for slot in before:
        place = next((i for i, layer in enumerate(waiting) if layer.kind == slot.last.kind), None)
        if place is None:
            yield _Slot([*slot.layers, None])
            continue
        for layer in waiting[:place]:
            yield _Slot([*[None] * number, layer])
        yield _Slot([*slot.layers, waiting[place]])
        waiting = waiting[place + 1 :]
    for layer in waiting:
        yield _Slot([*[None] * number, layer])


def _path_key(layer: Layer) -> tuple[str, ...]:
    return (layer.path, layer.kind)


def _sequence_key(layer: Layer) -> tuple[str, ...]:
    """The layer and the named containers that it is in, without the numbers that an inserted layer would shift."""
    return (re.sub(r"(^|\.)\d+", "", layer.path), layer.kind, layer.arguments)
