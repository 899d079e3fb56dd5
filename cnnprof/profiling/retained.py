"""What each layer keeps for the backward pass, and which row of a profile it belongs to."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import replace

from cnnprof.profiling.ledger import History, alive
from cnnprof.profiling.profile import Cost, Layer


def retained(history: History, span: range | None = None, end: int | None = None) -> Mapping[int, int]:
    """For each operator of a stretch of the history, by its number, the bytes that it allocated and that still live after an event.

    `end` is the number of that event, the last one by default.
    """
    span = history.span() if span is None else span
    living = set(alive(history, len(history.events) - 1 if end is None else end))
    sums: dict[int, int] = defaultdict(int)
    for n in history.events[span.start : span.stop]:
        if n in living:
            sums[history.allocations[n].run] += history.allocations[n].bytes
    return sums


def with_retained(root: Layer, training: Layer) -> Layer:
    """The rows of a profile with the retained bytes of the rows of a training pass, which have the same paths.

    What ran in training only, and so has no row here, gets one where it retains anything: the rows add up to the same sum.
    """
    if not root.children or not training.children:
        bytes_here = training.cost.retained_bytes
        if not root.children or not bytes_here:
            return _with(root, bytes_here)
        return replace(
            root, children=(*root.children, _only_in_training(training, f"{root.path}.{training.kind}".strip("."), root.depth + 1))
        )
    waiting: dict[str, deque[Layer]] = defaultdict(deque)
    for row in training.children:
        waiting[row.path].append(row)
    rows: list[Layer] = []
    for row in root.children:
        matching = waiting[row.path]
        rows.append(with_retained(row, matching.popleft()) if matching else row)
    for left in waiting.values():
        rows += (_only_in_training(row, row.path, root.depth + 1) for row in left if row.cost.retained_bytes)
    return replace(root, children=tuple(rows))


def _with(layer: Layer, size: int) -> Layer:
    return replace(layer, cost=layer.cost + Cost(retained_bytes=size)) if size else layer


def _only_in_training(row: Layer, path: str, depth: int) -> Layer:
    cost = Cost(retained_bytes=row.cost.retained_bytes)
    return Layer(path, row.kind, row.arguments, depth, row.input_shapes, row.output_shapes, cost, note="in training only")
